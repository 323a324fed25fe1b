//! A capture written down as text, one conversation a line, so that a golden folder holds no binary file.
//!
//! `+0.5 192.0.2.10 > 203.0.113.5:80 http evil.example /a.bin "curl/8.9"`: half a second after the line before,
//! who began, whom they contacted, and what they said. Client ports count from 40000.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail};

use crate::capture_file::Packet;
use crate::exchange::Exchange;
use crate::seed::Seed;

/// Time between the frames of one conversation.
const FRAME_MICROS: u64 = 200;

/// The packets of a scene.
///
/// # Errors
/// Names the line that cannot be read and what it should look like.
pub fn packets(scene: &str, seed: &mut Seed) -> Result<Vec<Packet>> {
    let mut packets = Vec::new();
    let (mut at_micros, mut port) = (0, 40_000);
    for (index, line) in scene.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let said = parse(line).with_context(|| format!("line {}: {line}", index + 1))?;
        at_micros += said.after_micros;
        let client = SocketAddr::new(said.client, port);
        for (frame, step) in said.exchange.frames(client, said.server, seed).into_iter().zip(0_u64..) {
            packets.push(Packet { at_micros: at_micros + step * FRAME_MICROS, frame });
        }
        port += 1;
    }
    packets.sort_by_key(|packet| packet.at_micros);
    Ok(packets)
}

struct Said {
    after_micros: u64,
    client: IpAddr,
    server: SocketAddr,
    exchange: Exchange,
}

fn parse(line: &str) -> Result<Said> {
    let words = words(line);
    let mut words = words.iter().map(String::as_str);
    let mut next = |what: &'static str| words.next().with_context(|| format!("{what} is missing"));
    let after = next("+SECONDS")?;
    let seconds: f64 = after.strip_prefix('+').context("begin with +SECONDS")?.parse()?;
    let client = next("the client's address")?.parse()?;
    if next(">")? != ">" {
        bail!("write CLIENT > SERVER:PORT");
    }
    let server = next("SERVER:PORT")?.parse()?;
    let exchange = match next("dns, tls, http, stream or datagram")? {
        "dns" => {
            let name = next("the name asked for")?.to_owned();
            Exchange::Dns { name, answer: words.next().map(str::parse).transpose()? }
        }
        "tls" => Exchange::Tls { name: next("the server name")?.to_owned() },
        "http" => Exchange::Http {
            host: next("the host")?.to_owned(),
            path: next("the path")?.to_owned(),
            user_agent: words.next().unwrap_or("Mozilla/5.0").to_owned(),
        },
        "stream" => Exchange::Stream { bytes: next("the number of bytes")?.parse()? },
        "datagram" => Exchange::Datagram { bytes: next("the number of bytes")?.parse()? },
        other => bail!("{other} is none of dns, tls, http, stream, datagram"),
    };
    let after = std::time::Duration::try_from_secs_f64(seconds)?;
    Ok(Said { after_micros: u64::try_from(after.as_micros())?, client, server, exchange })
}

/// Words between blanks; quotation marks keep blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_becomes_packets_in_order_of_time() {
        let scene = "# a comment\n+0 192.0.2.10 > 198.51.100.53:53 dns a.example 203.0.113.9\n\n\
                     +1.5 2001:db8::10 > [2001:db8:1::5]:80 http b.example /x \"an agent\"\n";
        let packets = packets(scene, &mut Seed::new(1)).unwrap();
        assert_eq!(packets[0].at_micros, 0);
        assert_eq!(packets[2].at_micros, 1_500_000);
        assert!(packets.is_sorted_by_key(|packet| packet.at_micros));
        let request = packets.iter().find(|packet| packet.frame.windows(8).any(|w| w == b"an agent"));
        assert!(request.is_some());
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (scene, expected) in [
            ("+0 192.0.2.1 > 192.0.2.2:1 sing", "line 1: +0 192.0.2.1 > 192.0.2.2:1 sing"),
            ("\n0 192.0.2.1 > 192.0.2.2:1 tls a", "line 2"),
            ("+0 192.0.2.1 > 192.0.2.2:1 tls", "line 1"),
        ] {
            let error = packets(scene, &mut Seed::new(1)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
