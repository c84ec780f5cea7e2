//! `seeder top`: a running seeder as one looks at it, live on a terminal, or as one frame of text. One task asks, one thread
//! reads keys, and the loop here only carries news to the model and the model to the screen.

mod draw;
pub mod model;
pub mod panes;
pub mod pieces;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use edge::client::Payload;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::terminal;
use tokio::sync::{mpsc, watch};

use super::ask::{self, Common, Held, Id, Seeders};
use super::session::Stop;
use super::{Failure, human, print};
use crate::engine::Details;
use model::{Model, Wish};

/// Between two looks: what a person reads.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Keys that nobody has looked at yet, and news.
const WAITING_MAX: usize = 64;
/// The size of a frame for those who have no terminal.
const PLAIN_SIZE: (u16, u16) = (80, 24);

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print one frame as text, and end
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    common: Common,
}

pub fn run(args: Args) -> Result<(), Failure> {
    if args.common.json {
        return Err(Failure::usage(
            "top draws; `seeder list --json` and `seeder show --json` print facts",
        ));
    }
    if !args.once && !io::stdout().is_terminal() {
        return Err(Failure::usage(
            "top needs a terminal; say --once for one frame as text",
        ));
    }
    ask::block_on(async {
        let seeders = Seeders::find(&args.common).await?;
        if args.once {
            return print(once(&seeders).await?);
        }
        let stop = Stop::listen()?;
        // Also has a panic put the terminal back before it speaks.
        let mut screen = ratatui::try_init()
            .map_err(|error| Failure::Failed(format!("cannot use the terminal: {error}")))?;
        let ended = watch(&mut screen, stop, seeders, args.common.clone()).await;
        ratatui::restore();
        ended
    })
}

/// One look, as text.
async fn once(seeders: &Seeders) -> Result<String, Failure> {
    let mut model = Model::default();
    model.show(seeders.list().await?, human::now());
    if let Some(id) = model.chosen().cloned() {
        model.explain(&id, Some(seeders.details(&id).await?));
    }
    let size = if io::stdout().is_terminal() {
        terminal::size().ok()
    } else {
        None
    };
    let (width, height) = size.unwrap_or(PLAIN_SIZE);
    frame(&model, width, height)
}

/// A frame of this size as text, without what is only space at the ends of its lines.
fn frame(model: &Model, width: u16, height: u16) -> Result<String, Failure> {
    let mut screen = Terminal::new(TestBackend::new(width, height)).map_err(Failure::failed)?;
    screen
        .draw(|frame| draw::draw(model, frame))
        .map_err(Failure::failed)?;
    let cells = screen.backend().buffer().content();
    let lines = cells.chunks(usize::from(width).max(1)).map(|line| {
        let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// What the task that asks has to tell.
enum News {
    Torrents(Vec<Held>),
    Details(Id, Option<Box<Details>>),
    /// Something was done, or did not work.
    Note(String),
}

async fn watch(
    screen: &mut ratatui::DefaultTerminal,
    mut stop: Stop,
    seeders: Seeders,
    common: Common,
) -> Result<(), Failure> {
    let (news_to, mut news) = mpsc::channel(WAITING_MAX);
    let (wishes, wishes_of) = mpsc::channel(WAITING_MAX);
    let (chosen, chosen_of) = watch::channel(None);
    let looker = Looker {
        seeders,
        common,
        news: news_to,
        chosen: chosen_of,
        wishes: wishes_of,
    };
    // It ends with the channels that this loop holds.
    tokio::spawn(looker.run());
    let mut keys = keys();
    let mut model = Model::default();
    loop {
        screen
            .draw(|frame| draw::draw(&model, frame))
            .map_err(|error| Failure::Failed(format!("cannot draw: {error}")))?;
        tokio::select! {
            () = stop.asked() => return Ok(()),
            Some(told) = news.recv() => hear(&mut model, told),
            key = keys.recv() => match key.map(|key| key.and_then(|key| model.key(key))) {
                // The terminal is gone.
                None | Some(Some(Wish::Quit)) => return Ok(()),
                Some(Some(wish)) if wish != Wish::Look => {
                    // With so many wishes waiting, one more would only come too late.
                    let _ = wishes.try_send(wish);
                }
                Some(_) => (),
            },
        }
        chosen.send_if_modified(|id| {
            let changed = id.as_ref() != model.chosen();
            *id = model.chosen().cloned();
            changed
        });
    }
}

fn hear(model: &mut Model, told: News) {
    match told {
        News::Torrents(rows) => model.show(rows, human::now()),
        News::Details(id, details) => model.explain(&id, details.map(|details| *details)),
        News::Note(note) => model.note = Some(note),
    }
}

/// Keys as they are pressed; `None` where the screen has only changed its size. The thread waits for the terminal, and ends
/// with the process.
fn keys() -> mpsc::Receiver<Option<KeyEvent>> {
    let (to, keys) = mpsc::channel(WAITING_MAX);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let key = match event {
                Event::Key(key) if key.kind != KeyEventKind::Release => Some(key),
                Event::Resize(..) => None,
                _ => continue,
            };
            if to.blocking_send(key).is_err() {
                return;
            }
        }
    });
    keys
}

/// The task that asks: all torrents and the chosen one each second, and at once when something was wished for.
struct Looker {
    seeders: Seeders,
    common: Common,
    news: mpsc::Sender<News>,
    chosen: watch::Receiver<Option<Id>>,
    wishes: mpsc::Receiver<Wish>,
}

impl Looker {
    async fn run(mut self) {
        loop {
            if let Err(error) = self.look().await {
                if self.news.send(News::Note(error.to_string())).await.is_err() {
                    return;
                }
                // It may have been started again.
                if let Ok(seeders) = Seeders::find(&self.common).await {
                    self.seeders = seeders;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => (),
                changed = self.chosen.changed() => if changed.is_err() { return },
                wish = self.wishes.recv() => match wish {
                    None => return,
                    Some(wish) => self.fulfil(wish).await,
                },
            }
        }
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let rows = self.seeders.list().await?;
        let chosen = self.chosen.borrow_and_update().clone();
        // The channel is closed when nobody looks any more; the next wait notices.
        let _ = self.news.send(News::Torrents(rows)).await;
        if let Some(id) = chosen {
            // A torrent that was removed meanwhile has none.
            let details = self.seeders.details(&id).await.ok().map(Box::new);
            let _ = self.news.send(News::Details(id, details)).await;
        }
        Ok(())
    }

    async fn fulfil(&self, wish: Wish) {
        let (id, order, done) = match wish {
            Wish::Pause(id) => (id, "pause", "paused"),
            Wish::Resume(id) => (id, "resume", "resumed"),
            Wish::Announce(id) => (id, "announce", "announced"),
            Wish::Look | Wish::Quit => return,
        };
        let note = match self.seeders.order(&id, order, Payload::Nothing).await {
            Ok(()) => done.to_owned(),
            Err(error) => error.to_string(),
        };
        let _ = self.news.send(News::Note(note)).await;
    }
}
