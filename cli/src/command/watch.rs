//! `vitals watch`: entities and their health as they change.
//!
//! On a terminal a table that is drawn anew in place; elsewhere a line per change; with `-o json` or `yaml` every step of
//! the watch as it comes. A broken connection is resumed by token; a view that is not what the hub says is asked for anew.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use vitals_proto::v1::{Entity, EntityFilter, HealthStatus};

use super::Outcome;
use super::entity_filter::FilterArgs;
use super::screen::{Head, Screen, draw};
use crate::Error;
use crate::args::{Format, HubArgs};
use crate::follow::{self, Applied, Follower, Said, View};
use crate::hub::Hub;
use crate::output::Output;
use crate::{progress, text};

/// How often a table on a terminal is drawn at most, where something changed.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// Entities that are named of those that a watch for health waits for.
const AWAITED_MAX: usize = 5;

/// How often it is drawn where only ages changed, in draws.
const IDLE_DRAWS: u32 = 10;

/// What to watch.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// End once the view is whole, every entity that is named is in it, and every entity in it is healthy
    // With a status asked for, an entity that becomes healthy would leave the view, or be all that is in it.
    #[arg(long, conflicts_with = "status")]
    until_healthy: bool,
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let Args { filter, until_healthy } = args;
    let filter = filter.filter()?;
    let until = if until_healthy { Until::Healthy(filter.refs.clone()) } else { Until::Stopped };
    watch(Follower::new(Hub::new(hub)?, filter), until, None, output).await
}

/// Shows all that passes the filter until the hub says no; with lines above the table, where it is drawn.
pub(super) async fn follow(
    hub: Hub,
    filter: EntityFilter,
    head: Head,
    output: &mut Output,
) -> Result<Outcome, Error> {
    watch(Follower::new(hub, filter), Until::Stopped, Some(head), output).await
}

/// When a watch ends.
enum Until {
    Stopped,
    /// The view is whole, these are in it, and all in it is healthy.
    Healthy(Vec<String>),
}

async fn watch(
    mut follower: Follower,
    until: Until,
    head: Option<Head>,
    output: &mut Output,
) -> Result<Outcome, Error> {
    let screen = Screen::new(head);
    let mut watch = Watch { output, view: View::default(), screen, until, has_told: false };
    let mut said = progress::during(watch.output, "waiting for the hub", follower.next()).await?;
    while !watch.take(said, &mut follower).await? {
        said = watch.next(&mut follower).await?;
    }
    if watch.draws() {
        draw(watch.output, &mut watch.screen, &watch.view)?;
    }
    Ok(Outcome::Fine)
}

struct Watch<'a> {
    output: &'a mut Output,
    view: View,
    screen: Screen,
    until: Until,
    /// What a watch for health waits for was told once.
    has_told: bool,
}

impl Watch<'_> {
    /// Waits for the follower, and draws meanwhile.
    async fn next(&mut self, follower: &mut Follower) -> Result<Said, Error> {
        if !self.draws() {
            return follower.next().await;
        }
        let mut ticks = interval(DRAW_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = std::pin::pin!(follower.next());
        let mut idle = 0;
        loop {
            tokio::select! {
                said = &mut next => return said,
                _ = ticks.tick() => {
                    idle += 1;
                    if self.screen.is_stale || idle % IDLE_DRAWS == 0 {
                        draw(self.output, &mut self.screen, &self.view)?;
                    }
                }
            }
        }
    }

    /// Shows one step. `true` ends the watch.
    async fn take(&mut self, said: Said, follower: &mut Follower) -> Result<bool, Error> {
        let step = match said {
            Said::Step(step) => *step,
            Said::Interrupted { error, pause } => {
                let why = if let Error::NotReady { message, .. } = &error {
                    format!("the hub is not ready ({})", text::clean(message))
                } else {
                    let cause = error.root_cause().unwrap_or_else(|| error.to_string());
                    format!("the connection to the hub broke ({})", text::clean(&cause))
                };
                self.trouble(format!("{why}: trying again"));
                follow::rest(pause).await;
                return Ok(false);
            }
        };
        if self.output.format != Format::Table {
            self.output.record(&step)?;
        }
        let applied = self.view.apply(step);
        self.screen.is_stale = true;
        if let Applied::Differs(difference) = &applied {
            let what = match difference.count {
                (here, there) if here != there => format!("in count ({here} here, {there} there)"),
                _ => "in content".to_owned(),
            };
            self.trouble(format!("the view differs from the hub's {what}: asking for it anew"));
            follower.restart();
            return Ok(false);
        }
        if matches!(applied, Applied::Synced { .. } | Applied::Progress(_)) {
            self.screen.trouble.clear();
        }
        if self.output.format == Format::Table && !self.draws() {
            self.tell(&applied)?;
        }
        Ok(self.is_over())
    }

    /// Whether all is as the watch was to wait for. Where it is not, that is told: on a terminal as it is now, else once.
    fn is_over(&mut self) -> bool {
        let Until::Healthy(refs) = &self.until else { return false };
        if !self.view.is_whole() || self.view.incoming().is_some() {
            return false;
        }
        let waits = awaited(self.view.entities(), refs);
        self.screen.awaited = waits.clone().unwrap_or_default();
        let Some(waits) = waits else { return true };
        if !self.draws() && !self.has_told {
            self.output.note(&waits);
            self.has_told = true;
        }
        false
    }

    fn draws(&self) -> bool {
        self.output.format == Format::Table && self.output.terminal.is_some()
    }

    fn trouble(&mut self, trouble: String) {
        if !self.draws() && self.screen.trouble != trouble {
            self.output.note(&trouble);
        }
        self.screen.trouble = trouble;
        self.screen.is_stale = true;
    }

    /// A line per change, for files and pipes.
    fn tell(&mut self, applied: &Applied) -> Result<(), Error> {
        match applied {
            Applied::Changed { before, after } => {
                let words = |entity: &Entity| {
                    let verdict = entity.verdict.clone().unwrap_or_default();
                    (verdict.status(), verdict.reason, verdict.message)
                };
                let before = before.as_deref().map(words);
                if before.as_ref() != Some(&words(after)) {
                    self.change(before.map(|(status, ..)| status), after)?;
                }
            }
            Applied::Removed(Some(entity)) => self.gone(entity)?,
            Applied::Synced { vanished } => {
                for entity in vanished {
                    self.gone(entity)?;
                }
            }
            Applied::SnapshotBegun(reason) if !reason.is_empty() => {
                self.output.note(&format!("a new snapshot: {}", text::clean(reason)));
            }
            Applied::SnapshotBegun(_)
            | Applied::Resumed
            | Applied::Removed(None)
            | Applied::Differs(_)
            | Applied::Progress(_)
            | Applied::Unknown => {}
        }
        Ok(())
    }

    fn change(&mut self, before: Option<HealthStatus>, after: &Entity) -> Result<(), Error> {
        let verdict = after.verdict.clone().unwrap_or_default();
        let mut line =
            format!("{} {} ", text::time(verdict.since.as_ref()), text::clean(&after.r#ref));
        let paint = self.output.paint;
        let word = |status| {
            let (word, style) = text::status(status);
            paint.text(word, style)
        };
        if let Some(before) = before.filter(|before| *before != verdict.status()) {
            line.push_str(&format!("{} → ", word(before)));
        }
        line.push_str(&word(verdict.status()));
        if !verdict.reason.is_empty() {
            line.push_str(&format!(
                " {}: {}",
                text::clean(&verdict.reason),
                text::clean(&verdict.message)
            ));
        }
        self.output.line(&line)?;
        Ok(self.output.data.flush()?)
    }

    fn gone(&mut self, entity: &Entity) -> Result<(), Error> {
        let now = jiff::Timestamp::from_millisecond(self.output.now()).unwrap_or_default();
        self.output.line(&format!("{now:.3} {} gone", text::clean(&entity.r#ref)))?;
        Ok(self.output.data.flush()?)
    }
}

/// What a watch for health still waits for; `None` where it waits for nothing any more.
fn awaited(entities: &BTreeMap<String, Entity>, refs: &[String]) -> Option<String> {
    let missing = refs.iter().filter(|it| !entities.contains_key(*it));
    let missing = missing.map(|it| format!("{it}, which is not there"));
    let unwell = entities.values().filter_map(|entity| {
        let status = text::status_of(entity.verdict.as_ref());
        let (word, _) = text::status(status);
        (status != HealthStatus::Healthy).then(|| format!("{}, which is {word}", entity.r#ref))
    });
    let mut all: Vec<String> = missing.chain(unwell).collect();
    if all.is_empty() {
        return entities.is_empty().then(|| "waiting for an entity that passes the filter".into());
    }
    let hidden = all.len().saturating_sub(AWAITED_MAX);
    all.truncate(AWAITED_MAX);
    if hidden > 0 {
        all.push(format!("and {hidden} more"));
    }
    Some(text::clean(&format!("waiting for {}", all.join("; "))).into_owned())
}
