//! What a start finds in the folder of bundles, and what of it can be used at once. Nothing is built here.

use protocol::index::{IndexError, Layers};
use tracing::{info, warn};

use super::building::Workshop;
use super::in_force::{OpenError, open_index, open_layers};
use super::record::{self, NoRecord, Record};

/// What was found.
pub(super) struct Opened {
    /// What should be in force.
    pub record: Option<Record>,
    /// What can be used of it.
    pub layers: Option<Layers>,
    /// Why it has to be built anew, as a sentence.
    pub trouble: Option<String>,
}

/// Opens what was in force and removes what a crash left.
pub(super) fn open(shop: &Workshop, root_sha256: &str) -> Opened {
    let nothing = |trouble: Option<String>| Opened { record: None, layers: None, trouble };
    let record = match Record::read(&shop.folder) {
        Ok(record) => record,
        Err(NoRecord::None) => {
            record::remove_leftovers(&shop.folder, []);
            return nothing(None);
        }
        Err(error) => {
            return nothing(Some(format!(
                "the record of the bundle in force cannot be used: {error}; nothing is looked for until the collector offers the bundle again"
            )));
        }
    };
    if record.root_sha256 != root_sha256 {
        info!("the bundle on disk is of another COSC: it does not count since this sensor was enrolled anew");
        return nothing(None);
    }
    record::remove_leftovers(&shop.folder, record.files());
    let (layers, trouble) = match open_layers(&shop.folder, &record) {
        Ok(layers) => {
            let is_ours = layers.base().meta().sanity == shop.sanity;
            let trouble = (!is_ours).then(|| "the home networks are others than before: the index is built anew, the one before stays in force meanwhile".to_owned());
            (Some(layers), trouble)
        }
        Err(error) => {
            let base = open_index(&shop.folder, &record.base).ok();
            let base = base.filter(|base| base.meta().serial >= record.bundle.serial);
            let meanwhile = if base.is_some() {
                "without its last changes the bundle stays in force meanwhile"
            } else {
                "nothing is looked for meanwhile"
            };
            let trouble = format!("{}; it is built anew, {meanwhile}", said(&error));
            (base.and_then(|base| Layers::new(base, None).ok()), Some(trouble))
        }
    };
    if layers.is_none() {
        warn!("no index can be used");
    }
    Opened { record: Some(record), layers, trouble }
}

/// The cause without advice that does not hold here: what is built anew needs nobody.
fn said(error: &OpenError) -> String {
    match error {
        OpenError::Index { path, error: IndexError::Damaged { part } } => {
            format!("the index {} is damaged ({part})", path.display())
        }
        OpenError::Index { path, error: IndexError::Format { format } } => {
            format!("the index {} has format {format} of another version", path.display())
        }
        other => other.to_string(),
    }
}
