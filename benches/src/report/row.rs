//! One peer at one case and number of workers: a line of JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Environment;
use crate::catalogue::{Case, REFERENCE, Unit};
use crate::harness::{Series, stats};
use crate::sample::Sample;

/// Figures, and the facts without which they say nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub area: String,
    pub case: String,
    pub peer: String,
    pub workers: usize,
    /// Medians over the rounds, by the names of [`Sample::fields`], with `min`, `max` and ratios.
    pub figures: BTreeMap<String, f64>,
    /// What [`Environment`] says: machine, kernel, versions, command.
    pub facts: BTreeMap<String, String>,
}

impl Row {
    /// What tells rows apart.
    pub fn key(&self) -> (&str, &str, usize) {
        (&self.case, &self.peer, self.workers)
    }

    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    pub fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }

    /// One line; the four names that select a row come first.
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

/// The rows of one case; a peer whose runs all failed has none.
pub fn rows(case: &Case, workers: usize, series: &[Series], environment: &Environment) -> Vec<Row> {
    let reference = series.iter().find(|series| series.peer == REFERENCE);
    let succeeded = series.iter().filter(|series| series.samples.iter().any(Option::is_some));
    succeeded
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

fn figures(case: &Case, series: &Series, reference: Option<&Series>) -> BTreeMap<String, f64> {
    let main = |sample: &Sample| match case.unit {
        Unit::Time => sample.ns_per_op,
        Unit::Bytes => sample.bytes_per_op,
    };
    let mut figures = BTreeMap::new();
    let mut put = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            figures.insert(name.to_owned(), value);
        }
    };
    put("rounds", Some(series.samples.iter().flatten().count() as f64));
    for (index, (name, _)) in Sample::default().fields().into_iter().enumerate() {
        let spread = stats::of(series, |sample| sample.fields()[index].1);
        put(name, spread.map(|spread| spread.median));
    }
    let spread = stats::of(series, main);
    put("min", spread.map(|spread| spread.min));
    put("max", spread.map(|spread| spread.max));
    if let Some(reference) = reference {
        put("ratio", stats::ratio(series, reference, main));
        put("cpu_ratio", stats::ratio(series, reference, |sample| sample.cpu_ns_per_op));
        put("p99_ratio", stats::ratio(series, reference, |sample| sample.p99_ns));
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

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
