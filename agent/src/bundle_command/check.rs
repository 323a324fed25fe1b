//! `bundle check`: whether values would match, and which indicators say so or say no.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::io::{self, BufRead, Read as _, Write};

use anyhow::Context as _;
use protocol::absurd::{self, Absurd};
use protocol::index::{IndexError, Judged, Layers, Sanity, Standing};
use protocol::{Action, Indicator, Kind, LookFor, Serial, Timestamp};
use serde::Serialize;

use super::look_ups::{self, LookUp};
use super::words::{Moment, validity};
use crate::paint::{Paint, harmless};

/// Standard input instead of a value.
const STDIN: &str = "-";
/// The longest value: a URL of 4 KiB, defanged. A longer line is told and passed over.
const VALUE_BYTES_MAX: u64 = 16 << 10;

/// What to check, against what.
pub struct Question<'a> {
    /// What is in force.
    pub layers: &'a Layers,
    /// The time that validity is judged by.
    pub at: Timestamp,
    /// What the values are; told by their shape when `None`.
    pub kind: Option<Kind>,
    /// One JSON object a line instead of a table.
    pub json: bool,
    /// How the table looks.
    pub paint: Paint,
}

/// What came of all values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Values that would match.
    pub matched: u64,
    /// Values that would not.
    pub unmatched: u64,
    /// Texts that are no values.
    pub unread: u64,
}

/// A value and what is known about it.
struct Checked<'a> {
    text: &'a str,
    at: Timestamp,
    bundle: Serial,
    look_ups: Vec<Answer>,
}

/// A look-up and what is known about it.
struct Answer {
    look_up: LookUp,
    judged: Vec<Judged>,
    /// Why this sensor takes no indicator on it.
    held_back: Option<Absurd>,
}

impl Question<'_> {
    /// Checks all values in turn and writes what is found to `out`; what is no value is said on standard error.
    ///
    /// # Errors
    /// When the index is damaged, or what it is read from or written to fails.
    pub fn ask(&self, values: &[String], out: &mut dyn Write) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        let mut stdin = Some(io::stdin().lock());
        for value in values {
            if value != STDIN {
                self.check(value, out, &mut tally)?;
            } else if let Some(lines) = stdin.take() {
                self.ask_lines(lines, out, &mut tally)?;
            }
        }
        out.flush()?;
        Ok(tally)
    }

    fn ask_lines(
        &self,
        mut lines: impl BufRead,
        out: &mut dyn Write,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut lines).take(VALUE_BYTES_MAX).read_until(b'\n', &mut line);
            if read.context("standard input")? == 0 {
                return Ok(());
            }
            if !line.ends_with(b"\n") && line.len() as u64 == VALUE_BYTES_MAX {
                eprintln!("a line is longer than {VALUE_BYTES_MAX} bytes: no value is");
                tally.unread += 1;
                lines.skip_until(b'\n').context("standard input")?;
                continue;
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim().trim_start_matches('\u{feff}');
            if !text.is_empty() && !text.starts_with('#') {
                self.check(text, out, tally)?;
            }
        }
    }

    fn check(&self, text: &str, out: &mut dyn Write, tally: &mut Tally) -> anyhow::Result<()> {
        let look_ups = match self.kind {
            Some(kind) => look_ups::of_kind(kind, text),
            None => look_ups::of_text(text),
        };
        let look_ups = match look_ups {
            Ok(look_ups) => look_ups,
            Err(error) => {
                eprintln!("{}: {error}", harmless(text));
                tally.unread += 1;
                return Ok(());
            }
        };
        let answers = look_ups.into_iter().map(|look_up| self.answer(look_up));
        let look_ups = answers.collect::<Result<_, _>>()?;
        let checked = Checked { text, at: self.at, bundle: self.layers.serial(), look_ups };
        *(if checked.matches() { &mut tally.matched } else { &mut tally.unmatched }) += 1;
        if self.json {
            serde_json::to_writer(&mut *out, &checked.record())?;
            writeln!(out)?;
        } else {
            write!(out, "{}", Block { checked: &checked, paint: self.paint })?;
        }
        Ok(())
    }

    fn answer(&self, look_up: LookUp) -> Result<Answer, IndexError> {
        let judged = look_up.judge(self.layers, self.at)?;
        let held_back = match &self.layers.base().meta().sanity {
            Sanity::TakeAll => None,
            Sanity::HoldAbsurd { own } => {
                absurd::reason(&LookFor::Observable(look_up.observable.clone()), own)
            }
        };
        Ok(Answer { look_up, judged, held_back })
    }
}

impl Checked<'_> {
    fn judged(&self) -> impl Iterator<Item = &Judged> {
        self.look_ups.iter().flat_map(|answer| &answer.judged)
    }

    fn matches(&self) -> bool {
        self.judged().any(is_hit)
    }

    fn record(&self) -> Record<'_> {
        let look_ups = self.look_ups.iter().map(|answer| LookUpRecord {
            kind: answer.look_up.observable.kind(),
            value: answer.look_up.observable.to_string(),
            port: answer.look_up.port,
            held_back: answer.held_back.map(Absurd::word),
            indicators: answer.judged.iter().map(IndicatorRecord::of).collect(),
        });
        Record {
            value: self.text,
            at: self.at,
            bundle: self.bundle,
            matches: self.matches(),
            look_ups: look_ups.collect(),
        }
    }
}

/// Whether a sighting would be a hit because of this indicator.
fn is_hit(judged: &Judged) -> bool {
    judged.standing == Standing::Counts && judged.indicator.action == Action::Detect
}

/// A line of `--json`.
#[derive(Serialize)]
struct Record<'a> {
    value: &'a str,
    at: Timestamp,
    bundle: Serial,
    matches: bool,
    look_ups: Vec<LookUpRecord<'a>>,
}

#[derive(Serialize)]
struct LookUpRecord<'a> {
    kind: Kind,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_back: Option<&'static str>,
    indicators: Vec<IndicatorRecord<'a>>,
}

#[derive(Serialize)]
struct IndicatorRecord<'a> {
    standing: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    silenced_by: Option<&'a str>,
    #[serde(flatten)]
    indicator: &'a Indicator,
}

impl<'a> IndicatorRecord<'a> {
    fn of(judged: &'a Judged) -> Self {
        let silenced_by = match &judged.standing {
            Standing::Silenced { by } => Some(by.as_str()),
            _ => None,
        };
        Self { standing: standing_word(&judged.standing), silenced_by, indicator: &judged.indicator }
    }
}

fn standing_word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Counts => "counts",
        Standing::NotYetValid => "not_yet_valid",
        Standing::Expired => "expired",
        Standing::Revoked => "revoked",
        Standing::Silenced { .. } => "silenced",
    }
}

/// A value for people: the verdict, then each look-up with its indicators.
struct Block<'a> {
    checked: &'a Checked<'a>,
    paint: Paint,
}

impl Display for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (checked, paint) = (self.checked, self.paint);
        let is_silenced = |judged: &Judged| matches!(judged.standing, Standing::Silenced { .. });
        let verdict = match () {
            () if checked.matches() => paint.alarm("MATCHES "),
            () if checked.judged().any(is_silenced) => paint.care("silenced"),
            () => paint.calm("no match"),
        };
        writeln!(f, "{verdict}  {}", paint.strong(&harmless(checked.text)))?;
        let several = checked.look_ups.len() > 1;
        for Answer { look_up, judged, held_back } in &checked.look_ups {
            let value = look_up.observable.to_string();
            let as_written = !several && value == checked.text;
            if !as_written {
                let port = look_up.port.map(|port| format!(" at port {port}")).unwrap_or_default();
                let nothing = if judged.is_empty() { ": no indicator" } else { "" };
                let kind = look_up.observable.kind().as_str();
                writeln!(f, "  looked up as {kind} {}{port}{nothing}", harmless(&value))?;
            }
            judged.iter().try_for_each(|judged| self.indicator(f, judged))?;
            if let Some(why) = held_back {
                writeln!(f, "    {}", paint.care(&format!("indicators on it are held back: {why}")))?;
            }
        }
        Ok(())
    }
}

/// One of [`Paint`]'s.
type Colour = fn(Paint, &str) -> Cow<'_, str>;

impl Block<'_> {
    fn indicator(&self, f: &mut fmt::Formatter<'_>, judged: &Judged) -> fmt::Result {
        let Judged { indicator, standing } = judged;
        let allows = indicator.action == Action::Allow;
        let (word, colour): (&str, Colour) = match standing {
            Standing::Counts if allows => ("allows", Paint::calm),
            Standing::Counts => ("counts", Paint::alarm),
            Standing::NotYetValid => ("not yet", Paint::care),
            Standing::Expired => ("expired", Paint::faint),
            Standing::Revoked => ("revoked", Paint::care),
            Standing::Silenced { .. } => ("silenced", Paint::care),
        };
        let word = colour(self.paint, &format!("{word:<8}")).into_owned();
        let what = format!("{} {}", indicator.look_for.kind(), indicator.look_for);
        let validity = validity(indicator.valid_from, indicator.valid_until);
        if allows {
            writeln!(f, "    {word}  {}, {validity}", harmless(&what))?;
        } else {
            let tlp = format!("TLP:{}", indicator.tlp).to_uppercase();
            writeln!(f, "    {word}  {}, {}, {tlp}, {validity}", harmless(&what), indicator.severity)?;
        }
        if let Standing::Silenced { by } = standing {
            writeln!(f, "              by the allow-list's {}", harmless(by))?;
        }
        let named = |name: &str, text: &str| (!text.is_empty()).then(|| format!("{name} {text}"));
        let origin = [
            named("threat", &indicator.threat),
            named("alert", &indicator.alert),
            named("source", &indicator.source),
            Some(indicator.id.clone()).filter(|id| *id != indicator.look_for.to_string()),
        ];
        let origin: Vec<String> = origin.into_iter().flatten().collect();
        if origin.is_empty() {
            return Ok(());
        }
        writeln!(f, "              {}", self.paint.faint(&harmless(&origin.join(", "))))
    }
}

impl Tally {
    /// The last line for people, when there was more than one value.
    pub fn sentence(&self, at: Timestamp, bundle: Serial) -> Option<String> {
        let all = self.matched + self.unmatched + self.unread;
        if all < 2 {
            return None;
        }
        let unread = match self.unread {
            0 => String::new(),
            1 => ", 1 is no value".to_owned(),
            unread => format!(", {unread} are no values"),
        };
        let (matched, at) = (self.matched, Moment(at));
        Some(format!("{matched} of {all} match bundle {bundle} at {at}{unread}"))
    }
}
