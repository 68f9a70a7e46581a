//! Puts mistakes into each protocol on purpose, and requires that its model fails.
//!
//! The sources are copied into `target/mutants/tree`. There one mutant at a time is applied: a text
//! that stands in the file exactly once is replaced by another. Then the model, or the unit test,
//! is built and run, and has to fail; without a mutant it has to pass. `cargo loom-mutants
//! [FILTER...]`, where a filter is a part of a mutant's or a model's name.

mod run;
mod tables;

use std::{env, path::Path, process::ExitCode, time::Instant};

use run::{Bench, Mutant, Verdict};
use tables::TABLES;

fn main() -> ExitCode {
    let filters: Vec<_> = env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member of a workspace");
    let bench = match Bench::new(root) {
        Ok(bench) => bench,
        Err(error) => {
            eprintln!("cannot copy the sources: {error}");
            return ExitCode::FAILURE;
        }
    };
    let chosen = |mutant: &&Mutant| {
        let fits = |filter: &String| {
            mutant.name.contains(filter.as_str()) || mutant.model.contains(filter.as_str())
        };
        filters.is_empty() || filters.iter().any(fits)
    };
    let mutants: Vec<_> = TABLES.iter().copied().flatten().filter(chosen).collect();
    if let Err(why) = bench.check_models(mutants.iter().map(|mutant| mutant.model)) {
        eprintln!("the models have to pass without a mutant:\n{why}");
        return ExitCode::FAILURE;
    }
    let (mut passed, mut failed) = (0, 0);
    for mutant in mutants {
        let start = Instant::now();
        let verdict = bench.check(mutant);
        let seconds = start.elapsed().as_secs_f64();
        let good = matches!(verdict, Verdict::Noticed);
        *if good { &mut passed } else { &mut failed } += 1;
        println!("{verdict}  {}  by {}  ({seconds:.1} s)", mutant.name, mutant.model);
        if let Verdict::Broken(why) | Verdict::Survived(why) = verdict {
            println!("{}", why.trim_end());
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_fits_its_source() {
        // Goal: a change of a source that no longer fits a mutant is seen at once, without a run of
        // all mutants.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member of a workspace");
        let misfit = |mutant: &&Mutant| {
            let source = std::fs::read_to_string(root.join("src").join(mutant.file));
            mutant.apply(&source.unwrap_or_default()).is_err()
        };
        let misfits = TABLES.iter().copied().flatten().filter(misfit).map(|mutant| mutant.name);
        assert_eq!(misfits.collect::<Vec<_>>(), [""; 0]);
    }
}
