//! One peer at one case and number of workers: a line of JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Environment;
use super::chart::headline;
use crate::catalogue::Case;
use crate::harness::{Series, stats};
use crate::sample::Sample;

/// Figures, and the facts that they need to have a meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub area: String,
    pub case: String,
    pub peer: String,
    pub workers: usize,
    /// Medians over the rounds, by the names of [`Sample::FIELDS`], and ratios to the reference;
    /// for the headline and its ratio, the least and the greatest as well.
    pub figures: BTreeMap<String, f64>,
    /// The facts of [`Environment`]: machine, kernel, versions, command.
    pub facts: BTreeMap<String, String>,
}

impl Row {
    /// The key that all rows of one table have.
    pub fn table(&self) -> (&str, usize) {
        (&self.case, self.workers)
    }

    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    pub fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }

    /// One line; it begins with the four names that select a row.
    pub fn to_json(&self) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let mut fields = vec![
            ("area", quoted(&self.area)),
            ("case", quoted(&self.case)),
            ("peer", quoted(&self.peer)),
            ("workers", self.workers.to_string()),
        ];
        for (name, value) in &self.figures {
            // Four digits after the point: more would be noise.
            fields.push((name, Value::from((value * 1e4).round() / 1e4).to_string()));
        }
        fields.extend(self.facts.iter().map(|(name, value)| (name.as_str(), quoted(value))));
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    }

    pub fn from_json(line: &str) -> Result<Row, String> {
        let mut object: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| error.to_string())?;
        let mut text = |name: &str| match object.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(format!("no {name}")),
        };
        let (area, case, peer) = (text("area")?, text("case")?, text("peer")?);
        let workers = object.remove("workers").and_then(|value| value.as_u64());
        let mut row = Row {
            area,
            case,
            peer,
            workers: workers.ok_or("no workers")? as usize,
            figures: BTreeMap::new(),
            facts: BTreeMap::new(),
        };
        for (name, value) in object {
            match value {
                Value::String(text) => {
                    row.facts.insert(name, text);
                }
                Value::Number(number) => {
                    row.figures.insert(name, number.as_f64().ok_or("a number out of range")?);
                }
                other => return Err(format!("{name} is neither text nor a number: {other}")),
            }
        }
        Ok(row)
    }
}

/// The rows of one case; a peer whose runs all failed has one without figures.
pub fn rows(case: &Case, workers: usize, series: &[Series], environment: &Environment) -> Vec<Row> {
    let reference = series.iter().find(|series| series.peer == case.reference());
    series
        .iter()
        .map(|series| Row {
            area: case.area.into(),
            case: case.name.into(),
            peer: series.peer.into(),
            workers,
            figures: figures(case, series, reference),
            facts: environment.facts(series.peer),
        })
        .collect()
}

/// Each ratio to the reference, and its figure.
const RATIOS: [(&str, &str); 4] = [
    ("ratio", "ns_per_op"),
    ("ratio", "bytes_per_op"),
    ("cpu_ratio", "cpu_ns_per_op"),
    ("p99_ratio", "p99_ns"),
];

fn figures(case: &Case, series: &Series, reference: Option<&Series>) -> BTreeMap<String, f64> {
    let headline = headline(case);
    let mut figures = BTreeMap::new();
    let mut put = |name: &str, value: f64| figures.insert(name.to_owned(), value);
    let succeeded = series.samples.iter().flatten().count();
    put("rounds", succeeded as f64);
    put("failed", (series.samples.len() - succeeded) as f64);
    for name in Sample::FIELDS {
        let Some(spread) = stats::of(series, name) else { continue };
        put(name, spread.median);
        if *name == headline.figure {
            put("min", spread.min);
            put("max", spread.max);
        }
        if *name == "cores_of_others" {
            put("cores_of_others_max", spread.max);
        }
    }
    for (name, field) in RATIOS {
        let ratios = reference.and_then(|reference| stats::ratio(series, reference, field));
        let Some(spread) = ratios else { continue };
        put(name, spread.median);
        if field == headline.figure {
            put("ratio_min", spread.min);
            put("ratio_max", spread.max);
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_tell_of_failures_and_spread() {
        let case = crate::catalogue::find("yield").expect("a case");
        let series = |peer, values: [Option<f64>; 3]| Series {
            peer,
            samples: values
                .map(|value| value.map(|ns| Sample { ns_per_op: Some(ns), ..Sample::default() }))
                .into(),
        };
        let tokio = series("tokio", [Some(10.0), Some(20.0), Some(40.0)]);
        let ours = series("ringloop", [Some(5.0), None, Some(10.0)]);
        let found = figures(case, &ours, Some(&tokio));
        for (name, value) in [
            ("rounds", 2.0),
            ("failed", 1.0),
            ("ns_per_op", 7.5),
            ("min", 5.0),
            ("max", 10.0),
            ("ratio", 0.375),
            ("ratio_min", 0.25),
            ("ratio_max", 0.5),
        ] {
            assert_eq!(found.get(name), Some(&value), "{name}");
        }
        let gone = figures(case, &series("gone", [None; 3]), Some(&tokio));
        assert_eq!(gone, BTreeMap::from([("rounds".into(), 0.0), ("failed".into(), 3.0)]));
    }

    #[test]
    fn row_survives_a_file() {
        let row = Row {
            area: "sched".into(),
            case: "yield".into(),
            peer: "tokio".into(),
            workers: 2,
            figures: BTreeMap::from([("ns_per_op".into(), 12.5), ("ratio".into(), 1.0)]),
            facts: BTreeMap::from([("command".into(), "a \"b\" \\ c".into())]),
        };
        let line = row.to_json();
        assert!(line.starts_with(r#"{"area":"sched","case":"yield","peer":"tokio","workers":2,"#));
        assert_eq!(Row::from_json(&line), Ok(row));
        assert!(Row::from_json(r#"{"area":"sched"}"#).is_err());
    }
}
