//! `top`: workers, lanes and tasks, anew every second.

mod draw;
#[cfg(test)]
mod tests;
mod view;

use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ringloop::time::Instant;

use self::view::{Order, View};
use super::{
    args::Target,
    client::Client,
    failure::{Failure, Kind},
    snapshot::Snapshot,
};

/// Shows a process until a key ends that, or the process does.
pub fn run(target: &Target, interval: Duration) -> Result<(), Failure> {
    let client = Client::open(target.pid)?;
    let question = format!("dump {} exact", target.limit);
    let look = || -> Result<Snapshot, Failure> {
        Ok(Snapshot::read(&client.ask(&question, target.timeout)?))
    };
    let mut view = View::new(look()?);
    let mut terminal = ratatui::try_init()?;
    let shown = (|| -> Result<(), Failure> {
        let mut next = Instant::now() + interval;
        loop {
            terminal.draw(|frame| draw::all(frame, &view))?;
            let rest = next.duration_since(Instant::now());
            if event::poll(rest)? {
                if !handle(&event::read()?, &mut view) {
                    return Ok(());
                }
                continue;
            }
            next = Instant::now() + interval;
            if view.is_paused {
                continue;
            }
            match look() {
                Ok(snapshot) => view.update(snapshot),
                // It says so itself, and shows what it has.
                Err(failure) if failure.kind == Kind::Silent => {
                    view.note = Some(failure.to_string())
                }
                Err(failure) => return Err(failure),
            }
        }
    })();
    ratatui::try_restore()?;
    match shown {
        Err(failure) if failure.is_of_an_end() => {
            println!("process {} has ended, or its runtime has", target.pid);
            Ok(())
        }
        shown => shown,
    }
}

/// What a key does. `false`: it is the end.
fn handle(event: &Event, view: &mut View) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
        return true;
    };
    match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('c') => view.set_order(Order::Busy),
        KeyCode::Char('w') => view.set_order(Order::Wait),
        KeyCode::Char('p') => view.set_order(Order::Polls),
        KeyCode::Char('i') => view.set_order(Order::Id),
        KeyCode::Char('s') => view.set_order(view.order.next()),
        KeyCode::Char(' ') => view.is_paused = !view.is_paused,
        KeyCode::Down | KeyCode::Char('j') => view.scroll(1),
        KeyCode::Up | KeyCode::Char('k') => view.scroll(-1),
        KeyCode::PageDown => view.scroll(20),
        KeyCode::PageUp => view.scroll(-20),
        KeyCode::Home => view.scroll(isize::MIN),
        KeyCode::End => view.scroll(isize::MAX),
        _ => {}
    }
    true
}
