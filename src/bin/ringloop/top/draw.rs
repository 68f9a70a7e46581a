//! From a view to a terminal.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table},
};

use super::{
    super::{
        paint::{count, plain, plural, time},
        snapshot::Task,
    },
    view::{Order, Past, View},
};

/// From here on there is room for all columns.
const WIDE: u16 = 100;
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// All of it.
pub fn all(frame: &mut Frame<'_>, view: &View) {
    let runtimes = &view.now.runtimes;
    let workers: usize = runtimes.iter().map(|runtime| runtime.workers.len()).sum();
    // On a small terminal the tasks keep a third.
    let most = (frame.area().height as usize / 3).max(4);
    let workers = (workers + 2).min(most) as u16;
    let lanes = if runtimes.iter().any(|runtime| !runtime.lanes.is_empty()) { 1 } else { 0 };
    let [head, past, pool, lane, tasks, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Length(workers),
        Constraint::Length(lanes),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, head, view);
    draw_past(frame, past, view);
    draw_workers(frame, pool, view);
    draw_lanes(frame, lane, view);
    draw_tasks(frame, tasks, view);
    draw_foot(frame, foot, view);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let now = &view.now;
    let names: Vec<_> = now.runtimes.iter().map(|runtime| plain(&runtime.name)).collect();
    let uptime = now.runtimes.iter().map(|runtime| runtime.uptime).max().unwrap_or_default();
    let mut line = vec![
        Span::styled(format!("process {}", now.pid), BOLD),
        format!("  {}  ringloop {}  up {}", names.join(", "), plain(&now.version), time(uptime))
            .into(),
    ];
    if view.is_paused {
        line.push(Span::styled("  paused", BOLD.fg(Color::Yellow)));
    }
    if let Some(why) = now.runtimes.iter().find_map(|runtime| runtime.fallback.as_ref()) {
        let text = format!("  without io_uring: {}", plain(why));
        line.push(Span::styled(text, Style::new().fg(Color::Yellow)));
    }
    frame.render_widget(Line::from(line), area);
}

fn draw_past(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let parts = Layout::horizontal([Constraint::Fill(1); 3]).areas::<3>(area);
    let past = [("polls/s", &view.polls), ("events/s", &view.arrivals), ("tasks", &view.live)];
    for ((name, past), area) in past.into_iter().zip(parts) {
        draw_one_past(frame, area, name, past);
    }
}

fn draw_one_past(frame: &mut Frame<'_>, area: Rect, name: &str, past: &Past) {
    let title = format!(" {name} {} ", count(past.last()));
    let block = Block::new().borders(Borders::ALL).border_style(DIM).title(title);
    let inside = block.inner(area);
    let values = past.newest(inside.width as usize);
    // The newest stands at the right.
    let fill = (inside.width as usize).saturating_sub(values.len());
    let values: Vec<u64> = std::iter::repeat_n(0, fill).chain(values).collect();
    let line = Sparkline::default().data(&values).style(Style::new().fg(Color::Green));
    frame.render_widget(block, area);
    frame.render_widget(line, inside);
}

fn draw_workers(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let mut rows = Vec::new();
    let many = view.now.runtimes.len() > 1;
    for (at, runtime) in view.now.runtimes.iter().enumerate() {
        for worker in &runtime.workers {
            let since = view.workers.get(&(at, worker.index)).copied().unwrap_or_default();
            let (colour, what) = match worker.state.as_str() {
                "held" => (Color::Red, "held"),
                "polling" => (Color::Green, "polling"),
                "parked" => (Color::Reset, "parked"),
                _ => (Color::Green, "turning"),
            };
            let task = match (worker.task, worker.polling_for) {
                (Some(task), Some(since)) if what == "held" => {
                    format!("task {task}, {}", time(since))
                }
                (Some(task), _) => format!("task {task}"),
                (None, _) => String::new(),
            };
            let name = match many {
                true => format!("{}-{}", plain(&runtime.name), worker.index),
                false => worker.index.to_string(),
            };
            rows.push(Row::new(vec![
                Cell::from(name),
                Cell::from(Span::styled(what, Style::new().fg(colour))),
                Cell::from(task),
                right(count(worker.queued)),
                right(rate(since.polls)),
                right(rate(since.parks)),
                right(rate(since.arrivals)),
                right(count(worker.steals)),
                right(count(worker.timers)),
                right(count(worker.homes)),
                right(count(worker.in_flight)),
            ]));
        }
    }
    let head = [
        "", "state", "task", "queue", "polls/s", "parks/s", "events/s", "steals", "timers",
        "sockets", "ring",
    ];
    let spare = |columns| if area.width < WIDE { 0 } else { columns };
    let widths = [
        Constraint::Max(14),
        Constraint::Length(7),
        Constraint::Fill(1),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(spare(6)),
        Constraint::Length(spare(6)),
        Constraint::Length(7),
        Constraint::Length(6),
    ];
    let head = head.iter().enumerate().map(|(at, name)| match at {
        ..3 => Cell::from(*name),
        _ => right((*name).to_owned()),
    });
    let block = Block::new().borders(Borders::TOP).border_style(DIM).title(" workers ");
    let table = Table::new(rows, widths).header(Row::new(head).style(DIM)).block(block);
    frame.render_widget(table, area);
}

fn draw_lanes(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let lanes = view.now.runtimes.iter().flat_map(|runtime| &runtime.lanes);
    let mut line = vec![Span::styled("lanes ", DIM)];
    for lane in lanes {
        let is_full = lane.queued > 0 && lane.busy >= lane.limit;
        let style = if is_full { Style::new().fg(Color::Red) } else { Style::new() };
        let mut text = format!(" {} {}/{}", plain(&lane.name), lane.busy, lane.limit);
        if lane.queued > 0 {
            let oldest = lane.oldest.map(|since| format!(", oldest {}", time(since)));
            text.push_str(&format!(" ({} queued{})", lane.queued, oldest.unwrap_or_default()));
        }
        line.push(Span::styled(text + " ", style));
    }
    frame.render_widget(Line::from(line), area);
}

fn draw_tasks(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let ordered = view.ordered();
    let space = area.height.saturating_sub(2) as usize;
    let rows = ordered.iter().skip(view.above).take(space).map(|(task, since)| {
        let style = match task.state.as_str() {
            _ if task.cancelling => Style::new().fg(Color::Yellow),
            "running" => Style::new().fg(Color::Green),
            _ => Style::new(),
        };
        Row::new(vec![
            right(task.id.to_string()),
            Cell::from(plain(task.name.as_deref().unwrap_or("-"))).style(BOLD),
            Cell::from(state(task)).style(style),
            right(task.state_for().map_or_else(|| "-".to_owned(), time)),
            right(format!("{:.1}%", since.cpu * 100.0)),
            right(rate(since.polls)),
            Cell::from(plain(task.waits_for())).style(Style::new().fg(Color::Cyan)),
            Cell::from(place_of(task)).style(DIM),
        ])
    });
    let mark =
        |order| if view.order == order { BOLD.add_modifier(Modifier::REVERSED) } else { DIM };
    let head = Row::new(vec![
        right("id".to_owned()).style(mark(Order::Id)),
        Cell::from("name").style(DIM),
        Cell::from("state").style(DIM),
        right("for".to_owned()).style(mark(Order::Wait)),
        right("cpu".to_owned()).style(mark(Order::Busy)),
        right("polls/s".to_owned()).style(mark(Order::Polls)),
        Cell::from("waits for").style(DIM),
        Cell::from("spawned at").style(DIM),
    ]);
    // On a narrow terminal the wait counts for more than the place, and than the rest.
    let place = if area.width < WIDE { 0 } else { 2 };
    let (name, polls) = if area.width < 80 { (12, 0) } else { (20, 8) };
    let widths = [
        Constraint::Length(7),
        Constraint::Max(name),
        Constraint::Length(12),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(polls),
        Constraint::Fill(3),
        Constraint::Fill(place),
    ];
    let hidden: u64 = view.now.runtimes.iter().map(|runtime| runtime.left_out).sum();
    let mut title = format!(" {} by {} ", plural(ordered.len(), "task"), view.order.name());
    if hidden > 0 {
        title.push_str(&format!("({} more not asked for) ", count(hidden)));
    }
    let block = Block::new().borders(Borders::TOP).border_style(DIM).title(title);
    frame.render_widget(Table::new(rows, widths).header(head).block(block), area);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let text =
        "q quit  c CPU  w waiting  p polls  i number  s next order  space pause  arrows scroll";
    let line = match &view.note {
        Some(note) => Line::styled(plain(note), Style::new().fg(Color::Red)),
        None => Line::styled(text, DIM),
    };
    frame.render_widget(Paragraph::new(line), area);
}

/// Where it was spawned, without the folder.
fn place_of(task: &Task) -> String {
    let place = task.spawned_at.as_str();
    plain(place.rsplit_once('/').map_or(place, |(_, file)| file))
}

/// The state in a word.
fn state(task: &Task) -> String {
    match task.worker {
        _ if task.cancelling => "cancelled".to_owned(),
        Some(worker) => format!("{} on {worker}", plain(&task.state)),
        None => plain(&task.state),
    }
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).alignment(Alignment::Right))
}

/// A rate in few digits.
fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        ..9.95 => format!("{rate:.1}"),
        _ => count(rate.round() as u64),
    }
}
