//! One line a case: what a file holds, and what is read from it.

use proptest::prelude::*;

use super::*;

/// Reads text as a file of that name. A row is `kind value`, `? kind value` when doubtful, `- text: reason` when
/// set aside.
fn read(name: &str, text: &str) -> (Imported, Vec<String>) {
    let mut imported = Imported::default();
    read::contents(text.as_bytes(), name, &mut imported).unwrap();
    let accepted = imported.accepted.iter().map(|candidate| {
        let mark = if candidate.doubt.is_some() { "? " } else { "" };
        format!("{mark}{} {}", candidate.look_for.kind(), candidate.look_for)
    });
    let rejected =
        imported.rejected.iter().map(|rejected| format!("- {}: {}", rejected.text, rejected.reason));
    let rows = accepted.chain(rejected).collect();
    (imported, rows)
}

/// Each expected row is the beginning of a row that was read, in order.
fn check(name: &str, text: &str, expected: &[&str]) -> Imported {
    let (imported, rows) = read(name, text);
    let alike =
        rows.len() == expected.len() && rows.iter().zip(expected).all(|(row, start)| row.starts_with(start));
    assert!(alike, "{text:?}\n read {rows:#?}\n not {expected:#?}");
    imported
}

fn said(name: &str, text: &str) -> Said {
    read(name, text).0.accepted[0].said.clone()
}

#[test]
fn plain_lists_have_one_value_a_line() {
    check(
        "l.txt",
        "# comment\n\nevil.example\n203.0.113.5 # seen\n",
        &["domain evil.example", "ip 203.0.113.5"],
    );
    check("l.txt", "hxxp://evil[.]example/a\n", &["url http://evil.example/a", "? domain evil.example"]);
    check("l.txt", "*.evil.example\n203.0.113.0/24\n", &["domain evil.example", "network 203.0.113.0/24"]);
    check(
        "l.txt",
        "203.0.113.5:8080\r\n[2001:db8::5]:443\r\n",
        &["ip_port 203.0.113.5:8080", "ip_port [2001:db8::5]:443"],
    );
    check("l.txt", "D41D8CD98F00B204E9800998ECF8427F\n", &["md5 d41d8cd98f00b204e9800998ecf8427f"]);
    check("l.txt", "999.1.1.1\n", &["- 999.1.1.1: "]);
    check("l.txt", "evil.example.nosuchtld\n", &["- evil.example.nosuchtld: "]);
}

#[test]
fn values_that_look_alike_are_written_with_a_star() {
    check(
        "l.txt",
        "login-*.evil[.]example\nevil.example/kit/*\nhxxps://evil[.]example:8443/kit/*\n@evil.example\n*@b.evil.example\n",
        &[
            "wildcard login-*.evil.example",
            "url_prefix evil.example/kit",
            "url_prefix evil.example:8443/kit",
            "email_domain evil.example",
            "email_domain b.evil.example",
        ],
    );
    check("l.txt", "203.0.113.5/kit/*\n", &["url_prefix 203.0.113.5/kit"]);
    check(
        "l.txt",
        "@some.handle\nsome.folder/*\n**some.words\nsome/folder/*\n",
        &["- @some.handle", "- some.folder/*", "- **some.words"],
    );
    check(
        "l.csv",
        "type,value\nwildcard,login-*.evil.example\nurl_prefix,evil.example/kit\nemail_domain,evil.example\nuser_agent_part,ExampleBot\n",
        &[
            "wildcard login-*.evil.example",
            "url_prefix evil.example/kit",
            "email_domain evil.example",
            "user_agent_part examplebot",
        ],
    );
}

#[test]
fn what_must_silence_is_never_looked_for() {
    let text = "!www.good.example # ours\n! 203.0.113.5\n!192.168.0.0/16\nevil.example\n";
    let imported = check("l.txt", text, &["domain evil.example"]);
    let allowed: Vec<String> = imported.allowed.iter().map(|it| it.look_for.to_string()).collect();
    assert_eq!(allowed, ["www.good.example", "203.0.113.5", "192.168.0.0/16"]);
    let mut printed = Vec::new();
    report::list(&imported, &mut printed).unwrap();
    let again = check("again.txt", &String::from_utf8(printed).unwrap(), &["domain evil.example"]);
    assert_eq!(again.allowed.len(), 3);
}

#[test]
fn values_that_look_alike_come_in_fields_of_other_formats() {
    let event = r#"{"Event":{"info":"Esempio","Attribute":[
        {"type":"hostname","value":"login-*.evil.example"},{"type":"url","value":"https://evil.example/kit/*"},
        {"type":"email-src","value":"*@evil.example"},{"type":"email-src","value":"@b.evil.example"},
        {"type":"user-agent","value":"*ExampleBot*"},{"type":"user-agent","value":"ExampleBot/1 (*)"}]}}"#;
    check(
        "e.json",
        event,
        &[
            "wildcard login-*.evil.example",
            "url_prefix evil.example/kit",
            "email_domain evil.example",
            "email_domain b.evil.example",
            "user_agent_part examplebot",
            "user_agent ExampleBot/1 (*)",
        ],
    );
}

#[test]
fn repeats_are_counted_and_keep_the_first_place() {
    let imported = check("l.txt", "evil.example\nEVIL.example.\nevil[.]example\n", &["domain evil.example"]);
    assert_eq!((imported.accepted[0].count, imported.accepted[0].place.line), (3, 1));
}

#[test]
fn prose_gives_its_values_and_their_lines() {
    let text = "Il malware contatta evil[.]example (203.0.113.5)\ne scarica hxxps://dl.evil.example/a.exe.\n";
    let expected = [
        "domain evil.example",
        "ip 203.0.113.5",
        "url https://dl.evil.example/a.exe",
        "? domain dl.evil.example",
    ];
    let imported = check("nota.txt", text, &expected);
    assert_eq!(imported.accepted.iter().map(|it| it.place.line).collect::<Vec<_>>(), [1, 1, 2, 2]);
}

#[test]
fn what_is_not_looked_for_is_set_aside_with_a_reason() {
    check("l.txt", "10.0.0.5\n", &["- 10.0.0.5: a private address"]);
    check("l.txt", "127.0.0.1\n", &["- 127.0.0.1: a reserved address"]);
    check("l.txt", "0.0.0.0/0\n", &["- 0.0.0.0/0: a network this large"]);
    check("l.txt", "Win32/Turla.AG\n", &["- Win32/Turla.AG: an antivirus' name"]);
    check("l.txt", "co.uk\n", &["- co.uk: a public suffix"]);
    check("l.txt", "run install.sh on it\n", &["- install.sh: a file name or a domain"]);
    check("l.txt", "invoice.exe\n", &["- invoice.exe: "]);
}

#[test]
fn tables_are_read_by_their_columns_names() {
    check(
        "t.csv",
        "type,value\ndomain,evil.example\nip,203.0.113.5\n",
        &["domain evil.example", "ip 203.0.113.5"],
    );
    check(
        "t.csv",
        "value,type\nevil.example,hostname\nx.dll,filename\n",
        &["domain evil.example", "- x.dll: of type filename"],
    );
    check("t.csv", "Tipo;Indicatore\nDominio;evil[.]example\n", &["domain evil.example"]);
    check("t.tsv", "indicator\tnotes\nevil.example\tsee other.example\n", &["domain evil.example"]);
    check("t.csv", "SHA256,Filename,C2\nab,x.exe,evil.example\n", &["domain evil.example"]);
    check("t.csv", "First Seen,C2\n2026-01-02 10:00:00,203.0.113.5\n", &["ip 203.0.113.5"]);
    check("t.csv", "2026-01-02 10:00:00,evil.example\n", &["domain evil.example"]);
    check(
        "t.csv",
        "value,type\n\"http://evil.example/a,b\",url\n",
        &["url http://evil.example/a,b", "? domain evil.example"],
    );
    check("t.csv", "value,type\n,domain\n", &[]);
    check("t.csv", "value,type\nnothing to see,domain\n", &["- nothing to see: "]);
}

#[test]
fn a_feeds_header_may_be_its_last_comment() {
    let text = "# a feed\n#\n# \"first_seen\", \"ioc_value\", \"ioc_type\", \"malware_printable\"\n\
                \"2026-01-02\", \"203.0.113.5:8080\", \"ip:port\", \"Example\"\n# end\n";
    let imported = check("feed.csv", text, &["ip_port 203.0.113.5:8080"]);
    assert_eq!((imported.accepted[0].said.threat.as_str(), imported.accepted[0].place.line), ("Example", 4));
}

#[test]
fn columns_say_threat_severity_marking_and_validity() {
    let header = "indicatore;tipo;minaccia;gravità;tlp;scadenza;allarme;fonte;attendibilità\n";
    let found = said(
        "t.csv",
        &format!("{header}evil.example;dominio;Esempio;Alta;TLP:AMBER+STRICT;31/12/2026;A-1;CERT;80\n"),
    );
    assert_eq!(
        (found.threat.as_str(), found.alert.as_str(), found.source.as_str()),
        ("Esempio", "A-1", "CERT")
    );
    assert_eq!((found.severity, found.tlp), (Some(Severity::High), Some(Tlp::AmberStrict)));
    assert_eq!(found.confidence, Some(80));
    assert_eq!(found.valid_until.unwrap().to_string(), "2027-01-01T00:00:00.000000Z");
}

#[test]
fn the_strictest_marking_of_repeats_stays() {
    let found = said("t.csv", "value,tlp\nevil.example,green\nevil.example,red\nevil.example,clear\n");
    assert_eq!(found.tlp, Some(Tlp::Red));
}

#[test]
fn json_lines_are_read_as_in_a_bundle_or_with_type_and_value() {
    let lines = "{\"kind\":\"domain\",\"value\":\"evil.example\",\"id\":\"1\",\"severity\":\"high\"}\n\
                 {\"type\":\"ip\",\"value\":\"203.0.113.5\"}\nnot json\n";
    let imported =
        check("l.jsonl", lines, &["domain evil.example", "ip 203.0.113.5", "- not json: not JSON"]);
    assert_eq!(imported.accepted[0].said.severity, Some(Severity::High));
    assert_eq!(imported.rejected[0].place.line, 3);
    let earlier = "{\"kind\":\"ip\",\"value\":\"203.0.113.5\",\"verdict\":\"doubtful\",\"reason\":\"r\"}\n\
                   {\"value\":\"203.0.113.6\",\"verdict\":\"rejected\",\"reason\":\"ours\"}\n";
    check("l.jsonl", earlier, &["? ip 203.0.113.5", "- 203.0.113.6: ours"]);
    check(
        "l.json",
        "{\"campaign\":{\"domains\":[\"evil.example\"],\"description\":\"see other.example\"}}",
        &["domain evil.example"],
    );
}

#[test]
fn broken_json_is_refused_as_a_whole() {
    for text in ["{\"Event\": {\"Attribute\": [", "[{\"value\":\"evil.example\"}, {\"val"] {
        let refused = read::contents(text.as_bytes(), "e.json", &mut Imported::default()).unwrap_err();
        assert!(refused.to_string().contains("not whole"), "{refused}");
    }
}

#[test]
fn misp_events_are_read_with_their_marks() {
    let event = r#"{"Event":{"info":"Esempio","threat_level_id":"1","Tag":[{"name":"tlp:green"}],"Attribute":[
        {"type":"ip-dst|port","value":"203.0.113.5|443","to_ids":true},
        {"type":"filename|md5","value":"a.exe|0123456789abcdef0123456789abcdef","to_ids":true},
        {"type":"domain","value":"maybe.example","to_ids":false},
        {"type":"domain","value":"gone.example","deleted":true},
        {"type":"mutex","value":"M"},{"type":"comment","value":"see other.example"}],
        "Object":[{"deleted":true,"Attribute":[{"type":"domain","value":"old.example"}]},{"Attribute":[{"type":"url","value":"http://203.0.113.6/a","to_ids":true}]}]}}"#;
    let imported = check(
        "e.json",
        event,
        &[
            "ip_port 203.0.113.5:443",
            "md5 0123456789abcdef0123456789abcdef",
            "? domain maybe.example",
            "url http://203.0.113.6/a",
            "? ip 203.0.113.6",
            "- gone.example: deleted",
            "- M: of type mutex",
            "- old.example: deleted",
        ],
    );
    let found = &imported.accepted[0].said;
    assert_eq!(
        (found.threat.as_str(), found.severity, found.tlp),
        ("Esempio", Some(Severity::High), Some(Tlp::Green))
    );
}

#[test]
fn stix_indicators_are_read_with_their_marks() {
    let bundle = r#"{"type":"bundle","id":"bundle--1","objects":[
        {"type":"marking-definition","id":"marking-definition--1","definition_type":"tlp","definition":{"tlp":"red"}},
        {"type":"indicator","name":"Esempio","pattern":"[domain-name:value = 'evil.example']","confidence":70,
         "valid_until":"2027-01-01T00:00:00Z","object_marking_refs":["marking-definition--1"]},
        {"type":"indicator","pattern":"[url:value LIKE 'http://%']"},
        {"type":"indicator","pattern":"[domain-name:value LIKE 'login-%.evil.example' OR url:value LIKE '%://evil.example/kit/%']"},
        {"type":"indicator","pattern":"[ipv4-addr:value = '203.0.113.5']","revoked":true},
        {"type":"malware","name":"other.example"}]}"#;
    let imported = check(
        "b.json",
        bundle,
        &[
            "domain evil.example",
            "wildcard login-*.evil.example",
            "url_prefix evil.example/kit",
            "- [url:value LIKE",
            "- [ipv4-addr:value = '203.0.113.5']: revoked",
        ],
    );
    let found = &imported.accepted[0].said;
    assert_eq!((found.tlp, found.confidence, found.threat.as_str()), (Some(Tlp::Red), Some(70), "Esempio"));
}

#[test]
fn openioc_items_are_read_by_their_search_term() {
    let ioc = r#"<?xml version="1.0"?><ioc xmlns="x"><short_description>Esempio</short_description>
        <IndicatorItem><Context document="DnsEntryItem" search="DnsEntryItem/RecordName"/><Content type="string">evil.example</Content></IndicatorItem>
        <IndicatorItem><Context document="FileItem" search="FileItem/Md5sum"/><Content type="md5">0123456789abcdef0123456789abcdef</Content></IndicatorItem>
        <IndicatorItem><Context document="FileItem" search="FileItem/FileName"/><Content type="string">a &amp; b.exe</Content></IndicatorItem></ioc>"#;
    let expected = [
        "domain evil.example",
        "md5 0123456789abcdef0123456789abcdef",
        "- a & b.exe: of type FileItem/FileName",
    ];
    let imported = check("x.ioc", ioc, &expected);
    assert_eq!((imported.accepted[1].said.threat.as_str(), imported.accepted[1].place.line), ("Esempio", 3));
}

#[test]
fn a_list_that_was_printed_is_read_again() {
    let (imported, _) = read("l.txt", "hxxp://evil[.]example/a\n203.0.113.5\n10.0.0.1\n");
    let mut printed = Vec::new();
    report::list(&imported, &mut printed).unwrap();
    check(
        "again.txt",
        &String::from_utf8(printed).unwrap(),
        &["url http://evil.example/a", "? domain evil.example", "ip 203.0.113.5"],
    );
    let mut printed = Vec::new();
    report::json(&imported, &mut printed).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    check(
        "again.jsonl",
        &printed,
        &["url http://evil.example/a", "? domain evil.example", "ip 203.0.113.5", "- 10.0.0.1: "],
    );
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let list = home.path().join("list.txt");
    std::fs::write(&list, "evil.example\n").unwrap();
    let imported =
        read::files(&[home.path().join("missing.txt"), home.path().to_owned(), list], Purpose::LookFor);
    assert_eq!((imported.accepted.len(), imported.unread.len()), (1, 2));
    assert!(imported.unread[0].0.ends_with("missing.txt"));
    assert!(imported.unread[1].1.contains("a folder"));
}

proptest! {
    #[test]
    fn no_file_makes_an_import_panic(
        start in prop_oneof![Just(""), Just("{\"Event\":"), Just("value,type\n"), Just("<ioc >"), Just("{\"type\":\"bundle\",\"objects\":[")],
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        pieces in proptest::collection::vec("(https?|hxxp)?(://|\\[:\\]//)?[a-z0-9.:/@\\[\\]()\\-<>\"',;|=#é]{0,40}\n?", 0..12),
    ) {
        let text = [start.as_bytes(), pieces.concat().as_bytes(), &bytes].concat();
        let _ = read::contents(&text, "any.csv", &mut Imported::default());
        let _ = read::contents(pieces.concat().as_bytes(), "any.txt", &mut Imported::default());
    }

    #[test]
    fn no_pattern_makes_stix_panic(pattern in "[\\[\\]()a-z:'=, ANDOR\\\\.]{0,60}") {
        let objects = [serde_json::json!({"type": "indicator", "pattern": pattern})];
        let _ = stix::read(&objects, &Place::default(), &mut Imported::default());
    }
}
