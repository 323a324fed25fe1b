//! What the columns of a table hold, by the names that feeds, alerts and spreadsheets give them in English and Italian.

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Indicators of any kind.
    Value,
    /// The kind of the indicator beside it.
    Type,
    /// Malware, actor or campaign.
    Threat,
    /// How bad.
    Severity,
    /// Who may see it.
    Tlp,
    /// How sure.
    Confidence,
    /// From when.
    ValidFrom,
    /// Until when.
    ValidUntil,
    /// Alert reference.
    Alert,
    /// Feed or sender.
    Source,
    /// Named for what it holds, such as `SHA256`, `C2 Server` or `Payload Hash`.
    Observables,
    /// Known not to hold indicators, such as file names and remarks.
    Remark,
    /// A name that says nothing.
    Unknown,
}

/// Whole names, as words in lower case with single spaces.
const NAMES: [(Column, &str); 10] = [
    (
        Column::Value,
        "indicator|indicators|indicatore|indicatori|value|valore|ioc|iocs|ioc value|observable|osservabile|\
         indicator value|artefatto",
    ),
    (Column::Type, "type|tipo|kind|ioc type|entity type|indicator type|tipologia|tipo indicatore|tipo ioc"),
    (
        Column::Threat,
        "threat|minaccia|malware|malware printable|threat name|famiglia|family|malware family|campaign|campagna|\
         actor|attore|tool name",
    ),
    (Column::Severity, "severity|gravità|gravita|criticità|criticita|severità"),
    (Column::Tlp, "tlp|marking"),
    (Column::Confidence, "confidence|confidence level|confidenza|attendibilità|attendibilita"),
    (Column::ValidFrom, "valid from|valido dal"),
    (Column::ValidUntil, "valid until|scadenza|expires|expiration|valido fino al|expiration date"),
    (Column::Alert, "alert|allarme|alert id|allerta|numero allarme"),
    (Column::Source, "source|fonte|feed|origine|reporter"),
];

/// Words that make a column a remark, whatever stands beside them (`urlhaus_link`, `C2 first seen`).
const REMARKS: &str = "date|data|time|timestamp|note|notes|description|descrizione|comment|comments|commento|\
    reference|references|riferimento|riferimenti|filename|path|percorso|pdb|author|autore|size|status|tags|tag|id|\
    seen|created|modified|name|nome|task|urlhaus|dateadded|title|titolo";

/// Words that make a column one of observables.
const OBSERVABLES: &str = "md5|sha1|sha256|sha|hash|hashes|ip|ipv4|ipv6|ips|address|indirizzo|domain|domains|\
    dominio|domini|hostname|host|fqdn|url|urls|c2|email|ja3|ja4|agent";

impl Column {
    /// What a column of this name holds.
    pub fn by_name(name: &str) -> Self {
        let name = name.trim_matches(['"', '#', ' ', '\u{feff}']).to_lowercase();
        let words: Vec<&str> =
            name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let whole = words.join(" ");
        let named = NAMES.into_iter().find(|(_, names)| names.split('|').any(|known| known == whole));
        let any_of = |list: &str| list.split('|').any(|known| words.contains(&known));
        match named {
            Some((column, _)) => column,
            None if any_of(REMARKS) => Self::Remark,
            None if any_of(OBSERVABLES) => Self::Observables,
            None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_known_in_two_languages() {
        for (name, expected) in [
            ("Indicatore", Column::Value),
            ("\"ioc_value\"", Column::Value),
            ("Tipo", Column::Type),
            ("GRAVITÀ", Column::Severity),
            ("valid_until", Column::ValidUntil),
            ("C2 Server", Column::Observables),
            ("Indirizzo IP", Column::Observables),
            ("Payload Hash", Column::Observables),
            ("urlhaus_link", Column::Remark),
            ("ITW Filename", Column::Remark),
            ("Cluster 1", Column::Unknown),
            ("", Column::Unknown),
        ] {
            assert_eq!(Column::by_name(name), expected, "{name}");
        }
    }
}
