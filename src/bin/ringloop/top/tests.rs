use ratatui::{Terminal, backend::TestBackend};

use super::{
    super::{
        golden::{compare, snapshots},
        snapshot::Snapshot,
    },
    draw::all,
    view::{Order, View},
};

/// The terminal as text.
fn shown(view: &View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| all(frame, view)).expect("it draws");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| format!("{}\n", line(y).trim_end())).collect()
}

fn view() -> View {
    let [first, second] = snapshots();
    let mut view = View::new(first);
    view.update(second);
    view
}

#[test]
fn terminal_is_as_expected() {
    let mut view = view();
    compare("top.txt", &shown(&view, 120, 24));
    view.set_order(Order::Wait);
    view.is_paused = true;
    view.note = Some("it has not answered\u{1b}[2J".to_owned());
    compare("top-wait.txt", &shown(&view, 80, 16));
}

#[test]
fn terminal_of_any_size_is_no_trouble() {
    let (view, empty) = (view(), View::new(Snapshot::default()));
    for (width, height) in [(1, 1), (2, 50), (20, 5), (500, 3), (300, 100)] {
        let _ = (shown(&view, width, height), shown(&empty, width, height));
    }
}

#[test]
fn window_moves_within_the_tasks() {
    let mut view = view();
    for (rows, above) in [(1, 1), (-5, 0), (isize::MAX, 6), (20, 6), (isize::MIN, 0)] {
        view.scroll(rows);
        assert_eq!(view.above, above);
    }
    let mut order = view.order;
    for _ in 0..4 {
        order = order.next();
    }
    assert_eq!(order, view.order);
}
