//! Any line that is a JSON object: members with well-known names, those of the Elastic Common Schema among them, and
//! what Traefik, Caddy and nginx write of a request.

use super::Format;
use crate::line::header::Logged;
use crate::line::json::{self, Member};
use crate::line::keys;
use crate::line::reading::{Field, Reading};

pub(super) const FORMAT: Format = Format { name: "json", read };

fn read<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let message = logged.message.trim_ascii_start();
    let message = message.strip_prefix(b"@cee:").unwrap_or(message).trim_ascii_start();
    if !message.starts_with(b"{") {
        return false;
    }
    let mut request = Request::default();
    let is_json = json::each(message, &mut |member| {
        request.note(member);
        if let Some(field) = field_of(member) {
            member.take(field, reading);
        }
    });
    request.take(reading);
    is_json
}

/// What a member is by its name, if its value is likely for that.
pub(super) fn field_of(member: &Member<'_>) -> Option<Field> {
    keys::of_member(member).filter(|field| is_likely(*field, member))
}

/// Names such as `query`, `source` and `forwarded` have other values as well.
fn is_likely(field: Field, member: &Member<'_>) -> bool {
    match field {
        Field::Domain => {
            member.text.contains(&b'.') && !member.text.iter().any(|byte| matches!(byte, b' ' | b'/'))
        }
        Field::Url => member.text.starts_with(b"http"),
        _ => true,
    }
}

/// Host and path of a request that stand in one object.
#[derive(Default)]
struct Request<'a> {
    host: Option<Member<'a>>,
    path: Option<Member<'a>>,
}

impl<'a> Request<'a> {
    fn note(&mut self, member: &Member<'a>) {
        let is_path = member.text.starts_with(b"/") || member.text.starts_with(b"\\/");
        match member.name() {
            b"host" | b"hostname" | b"http_host" | b"RequestHost" | b"vhost" | b"server_name" | b"domain"
                if self.host.is_none() =>
            {
                self.host = Some(*member);
            }
            b"uri" | b"request_uri" | b"RequestPath" | b"url" | b"path" | b"original"
                if is_path && self.path.is_none() =>
            {
                self.path = Some(*member);
            }
            _ => {}
        }
    }

    fn take(&self, reading: &mut Reading<'a>) {
        if let (Some(host), Some(path)) = (&self.host, &self.path)
            && host.object == path.object
        {
            host.take(Field::UrlHost, reading);
            path.take(Field::UrlPath, reading);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn well_known_names_at_any_depth() {
        check(
            &FORMAT,
            r#"{"@timestamp":"2026-11-22T10:00:00Z","source":{"ip":"10.0.0.4","port":40000},"destination.ip":"203.0.113.5","destination":{"port":443},"url":{"full":"https://evil.example/a"},"user_agent":{"original":"bot/1.0"},"dns":{"question":{"name":"b.sh"}},"log":{"file.path":"/var/log/c.sh"}}"#,
            &[
                "log.src 10.0.0.4:40000",
                "log.dst 203.0.113.5:443",
                "log.url https://evil.example/a",
                "log.domain evil.example",
                "log.user_agent bot/1.0",
                "log.domain b.sh",
            ],
        );
        check(
            &FORMAT,
            r#"@cee: {"sourceIPAddress":"203.0.113.5","userAgent":"aws-cli/2.0","eventSource":"signin.example","query":"select 1 from a.b"}"#,
            &["log.src 203.0.113.5", "log.user_agent aws-cli/2.0", "log.domain signin.example"],
        );
    }

    #[test]
    fn requests_of_traefik_and_caddy() {
        check(
            &FORMAT,
            r#"{"ClientAddr":"203.0.113.5:4000","ClientHost":"203.0.113.5","RequestHost":"a.example","RequestPath":"/x","request_User-Agent":"bot/1.0","request_X-Forwarded-For":"198.51.100.7"}"#,
            &[
                "log.src 203.0.113.5:4000",
                "log.src 203.0.113.5",
                "log.url http://a.example/x",
                "log.domain a.example",
                "log.user_agent bot/1.0",
                "log.text 198.51.100.7",
            ],
        );
        check(
            &FORMAT,
            r#"{"level":"info","request":{"remote_ip":"203.0.113.5","remote_port":"4000","client_ip":"203.0.113.5","host":"a.example:8443","uri":"\/x\u0026y","headers":{"User-Agent":["bot/1.0 \"q\""],"X-Forwarded-For":["198.51.100.7, 198.51.100.8"]}}}"#,
            &[
                "log.src 203.0.113.5:4000",
                "log.url http://a.example:8443/x&y",
                "log.domain a.example",
                "log.user_agent bot/1.0 \"q\"",
                "log.text 198.51.100.7",
                "log.text 198.51.100.8",
            ],
        );
    }

    #[test]
    fn host_and_path_of_different_objects_are_no_url() {
        check(&FORMAT, r#"{"host":"gw.example","http":{"path":"/x"}}"#, &["log.domain gw.example"]);
        check_not(&FORMAT, "{not json}");
        check_not(&FORMAT, "[\"a\"]");
    }
}
