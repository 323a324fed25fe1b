//! Names that programs give to fields, whatever their spelling: `src_ip`, `SrcIP`, `source.ip`, `{"source":{"ip":…}}`.

use super::json::Member;
use super::reading::Field;

/// Longer names are none of those that are known.
const NAME_BYTES_MAX: usize = 48;

/// What the value of a member is by the names on the way to it: the whole way is asked first, then its end.
pub(super) fn of_member(member: &Member<'_>) -> Option<Field> {
    let [first, second, last] = member.way;
    of_way(&[first, second, last]).or_else(|| of_way(&[second, last])).or_else(|| of_key(last))
}

/// What the value of a key is. Of a name with dots the end counts when the whole is not known.
pub(super) fn of_key(key: &[u8]) -> Option<Field> {
    let mut rest = key.get(key.len().saturating_sub(2 * NAME_BYTES_MAX)..)?;
    loop {
        if let Some(field) = of_way(&[rest]) {
            return Some(field);
        }
        rest = rest.get(memchr::memchr(b'.', rest)? + 1..)?;
    }
}

fn of_way(names: &[&[u8]]) -> Option<Field> {
    if names.iter().map(|name| name.len()).sum::<usize>() > 2 * NAME_BYTES_MAX {
        return None;
    }
    let mut letters = [0; NAME_BYTES_MAX];
    let mut length = 0;
    for byte in names.iter().copied().flatten().filter(|byte| byte.is_ascii_alphanumeric()) {
        *letters.get_mut(length)? = byte.to_ascii_lowercase();
        length += 1;
    }
    known(letters.get(..length)?)
}

#[expect(clippy::too_many_lines, reason = "one match, one arm a field")]
fn known(name: &[u8]) -> Option<Field> {
    Some(match name {
        b"src"
        | b"srcip"
        | b"srcaddr"
        | b"srcaddress"
        | b"srcv6"
        | b"source"
        | b"sourceip"
        | b"sourceaddr"
        | b"sourceaddress"
        | b"sourceipaddress"
        | b"sourcenetworkaddress"
        | b"saddr"
        | b"ipsrc"
        | b"client"
        | b"clientip"
        | b"clientipaddress"
        | b"clientaddr"
        | b"clientaddress"
        | b"clienthost"
        | b"remoteip"
        | b"remip"
        | b"remoteaddr"
        | b"remoteaddress"
        | b"remotehost"
        | b"rhost"
        | b"rip"
        | b"cip"
        | b"callerip"
        | b"calleripaddress"
        | b"peer"
        | b"peerip"
        | b"peeraddr"
        | b"peeraddress"
        | b"idorigh"
        | b"origh"
        | b"attacker"
        | b"attackerip"
        | b"attackeraddress"
        | b"userip"
        | b"eventdataipaddress" => Field::Src,
        b"srcport" | b"sourceport" | b"sport" | b"spt" | b"clientport" | b"remoteport" | b"remport"
        | b"peerport" | b"idorigp" | b"origp" | b"ipport" => Field::SrcPort,
        b"dst"
        | b"dstip"
        | b"dstaddr"
        | b"dstaddress"
        | b"dstv6"
        | b"dest"
        | b"destip"
        | b"destaddr"
        | b"destaddress"
        | b"destination"
        | b"destinationip"
        | b"destinationaddr"
        | b"destinationaddress"
        | b"destinationnetworkaddress"
        | b"daddr"
        | b"ipdst"
        | b"serverip"
        | b"serveraddr"
        | b"lip"
        | b"laddr"
        | b"idresph"
        | b"resph"
        | b"targetip"
        | b"targetaddress" => Field::Dst,
        b"dstport" | b"destport" | b"destinationport" | b"dport" | b"dpt" | b"idrespp" | b"respp"
        | b"targetport" => Field::DstPort,
        b"sourcetranslatedaddress"
        | b"sourcenatip"
        | b"srctransip"
        | b"natsrcip"
        | b"natsrc"
        | b"srcpostnat" => Field::SrcAfter,
        b"sourcetranslatedport" | b"sourcenatport" | b"srctransport" | b"natsrcport" | b"srcpostnatport" => {
            Field::SrcAfterPort
        }
        b"destinationtranslatedaddress"
        | b"destinationnatip"
        | b"dsttransip"
        | b"natdstip"
        | b"natdst"
        | b"dstpostnat" => Field::DstAfter,
        b"destinationtranslatedport"
        | b"destinationnatport"
        | b"dsttransport"
        | b"natdstport"
        | b"dstpostnatport" => Field::DstAfterPort,
        b"srcprenat" => Field::SrcBefore,
        b"srcprenatport" => Field::SrcBeforePort,
        b"dstprenat" => Field::DstBefore,
        b"dstprenatport" => Field::DstBeforePort,
        b"proto" | b"protocol" | b"networktransport" => Field::Proto,
        b"xforwardedfor"
        | b"httpxforwardedfor"
        | b"forwardedfor"
        | b"xff"
        | b"xrealip"
        | b"forwarded"
        | b"requestxforwardedfor"
        | b"headersxforwardedfor" => Field::Forwarded,
        b"url" | b"urlfull" | b"urloriginal" | b"requesturl" | b"fullurl" => Field::Url,
        b"query"
        | b"qname"
        | b"queryname"
        | b"rrname"
        | b"dnsquery"
        | b"dnsquestionname"
        | b"sni"
        | b"servername"
        | b"tlssni"
        | b"domain"
        | b"domainname"
        | b"dsthost"
        | b"dhost"
        | b"dsthostname"
        | b"desthost"
        | b"desthostname"
        | b"destinationhost"
        | b"destinationhostname"
        | b"destinationdomain"
        | b"destinationdnsdomain"
        | b"urldomain"
        | b"shost"
        | b"srchost"
        | b"sourcehostname"
        | b"sourcehost"
        | b"sourcedomain"
        | b"clientdomain"
        | b"helo" => Field::Domain,
        b"useragent"
        | b"useragentoriginal"
        | b"httpuseragent"
        | b"requestuseragent"
        | b"headersuseragent"
        | b"requestclientapplication"
        | b"csuseragent"
        | b"ua" => Field::UserAgent,
        b"md5" | b"sha1" | b"sha256" | b"filehash" | b"md5hash" | b"sha1hash" | b"sha256hash" => Field::Hash,
        b"user" | b"username" | b"usrname" | b"suser" | b"duser" | b"srcuser" | b"dstuser" | b"account"
        | b"targetusername" | b"subjectusername" => Field::User,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name_are_one_name() {
        for (key, field) in [
            ("src_ip", Some(Field::Src)),
            ("SourceIP", Some(Field::Src)),
            ("id.orig_h", Some(Field::Src)),
            ("destination.port", Some(Field::DstPort)),
            ("source.nat.ip", Some(Field::SrcAfter)),
            ("winlog.event_data.DestinationIp", Some(Field::Dst)),
            ("X-Forwarded-For", Some(Field::Forwarded)),
            ("sourcery", None),
            ("", None),
            ("...", None),
            (&"src".repeat(100), None),
        ] {
            assert_eq!(of_key(key.as_bytes()), field, "{key}");
        }
    }
}
