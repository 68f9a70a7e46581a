//! What the subcommands print of one snapshot, compared with files in `tests/inspect/golden`. With
//! `RINGLOOP_BLESS=1` in the environment the files are written anew: read the difference before a commit.

use std::{env, fs, path::Path, time::Duration};

use serde_json::Value;

use super::{
    args::Sort,
    failure::Kind,
    paint::Style,
    processes::{self, Found},
    ps,
    snapshot::Snapshot,
    tree::Forest,
    watch,
};

/// The snapshot, and one of a second later, in which 500 polls more were made.
pub fn snapshots() -> [Snapshot; 2] {
    let text = include_str!("../../../tests/inspect/golden/snapshot.json");
    let first: Value = serde_json::from_str(text).expect("JSON");
    let mut second = first.clone();
    let add = |value: &mut Value, more: u64| *value = (value.as_u64().unwrap() + more).into();
    add(&mut second["taken_at_ns"], 1_000_000_000);
    let runtime = &mut second["runtimes"][0];
    add(&mut runtime["workers"][1]["polls"], 500);
    add(&mut runtime["workers"][1]["arrivals"], 120);
    add(&mut runtime["workers"][1]["parks"], 7);
    add(&mut runtime["workers"][0]["polling_for_ns"], 1_000_000_000);
    add(&mut runtime["tasks"][0]["polls"], 400);
    add(&mut runtime["tasks"][0]["busy_ns"], 55_000_000);
    add(&mut runtime["tasks"][6]["busy_ns"], 1_000_000_000);
    [Snapshot::read(&first), Snapshot::read(&second)]
}

/// Compares a text with the file of that name.
#[track_caller]
pub fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inspect/golden").join(name);
    if env::var_os("RINGLOOP_BLESS").is_some() {
        fs::write(&path, text).expect("the file can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "not as in {}:\n{text}", path.display());
}

#[test]
fn ps_is_as_expected() {
    let [snapshot, _] = snapshots();
    compare("ps.txt", &ps::text(&snapshot, Sort::Id, Style::Plain));
    compare("ps-wait.txt", &ps::text(&snapshot, Sort::Wait, Style::Plain));
    compare("ps-colours.txt", &ps::text(&snapshot, Sort::Busy, Style::Colours));
}

#[test]
fn tree_is_as_expected() {
    let [snapshot, _] = snapshots();
    let forest = Forest::of(&snapshot);
    compare("tree.txt", &forest.text(&snapshot, Style::Plain));
    compare("tree.json", &format!("{}\n", forest.json(&snapshot)));
}

#[test]
fn watch_is_as_expected() {
    let [first, second] = snapshots();
    let lines = [watch::line(&first, None), watch::line(&second, Some(&first))];
    compare("watch.txt", &format!("{}\n{}\n", lines[0], lines[1]));
}

#[test]
fn list_is_as_expected() {
    let found =
        |pid, user, name: &str, hello| Found { pid, user: Some(user), name: name.into(), hello };
    let hello = serde_json::json!({ "runtimes": 1, "workers": [2, 1], "tasks": 120 });
    let list = [
        found(4711, 1000, "gateway", Ok(hello)),
        found(4800, 0, "evil\u{1b}[2J", Err((Kind::NotPermitted, "why".to_owned()))),
        found(4801, 0, "slow", Err((Kind::Silent, "why".to_owned()))),
    ];
    compare("list.txt", &processes::text(&list, Style::Plain));
    compare("list.json", &processes::json(&list));
    compare("list-none.txt", &processes::text(&[], Style::Plain));
}

#[test]
fn snapshot_of_a_version_to_come_is_read_as_far_as_it_is_known() {
    for text in ["{}", "null", "[]", r#"{"runtimes":[{"tasks":[{"id":"x"},7]}],"new":1}"#] {
        let snapshot = Snapshot::read(&serde_json::from_str(text).expect("JSON"));
        let _ = ps::text(&snapshot, Sort::Busy, Style::Colours);
        let _ = Forest::of(&snapshot).text(&snapshot, Style::Plain);
        let _ = watch::line(&snapshot, Some(&snapshot));
    }
}

#[test]
fn times_on_the_command_line_have_units() {
    use super::args::duration;

    let millis = |text| duration(text).map(|time| time.as_millis());
    assert_eq!(millis("500ms"), Ok(500));
    assert_eq!(millis("1.5s"), Ok(1500));
    assert_eq!(millis("2m"), Ok(120_000));
    assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
    for wrong in ["", "s", "-1s", "1h30", "nan", "1e99s"] {
        assert!(duration(wrong).is_err(), "{wrong}");
    }
}
