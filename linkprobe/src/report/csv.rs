//! The records for a spreadsheet (RFC 4180), a row each, in the order of their time.

use notifier::exit::Failure;

use crate::history::History;
use crate::record::{Bound, Record};

/// The first row. Units stand in the names.
const HEAD: &str = "timestamp,link,kind,verdict,reasons,download_bits_per_second,download_is,\
upload_bits_per_second,upload_is,ping_ms,jitter_ms,loss,ping_loaded_ms,bytes_sent,bytes_received,\
took_s,up_s,min_download_bits_per_second,min_upload_bits_per_second,max_latency_ms,isp,asn,ip,\
server,server_sponsor";

/// All records of these histories.
///
/// # Errors
///
/// When one cannot be read.
pub fn of(histories: &[History], since_ms: Option<i64>) -> Result<String, Failure> {
    let mut rows = Vec::new();
    for history in histories {
        history.each(since_ms, |at_ms, record| rows.push((at_ms, row(&record))))?;
    }
    rows.sort_by_key(|(at_ms, _)| *at_ms);
    let mut text = format!("{HEAD}\r\n");
    for (_, row) in rows {
        text.push_str(&row);
        text.push_str("\r\n");
    }
    Ok(text)
}

fn row(record: &Record) -> String {
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let bound = |rate: Option<f64>, is: Option<Bound>| match (rate, is) {
        (None, _) => String::new(),
        (_, Some(Bound::AtLeast)) => "at-least".to_owned(),
        (_, _) => "about".to_owned(),
    };
    let (client, server) =
        (record.client.clone().unwrap_or_default(), record.server.clone().unwrap_or_default());
    let kind = serde_json::to_value(record.kind).ok();
    let cells = [
        record.timestamp.clone(),
        record.link.clone(),
        kind.and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default(),
        record.verdict.map_or_else(String::new, |verdict| verdict.as_str().to_owned()),
        record.reasons.join("; "),
        number(record.download),
        bound(record.download, record.download_is),
        number(record.upload),
        bound(record.upload, record.upload_is),
        number(record.ping),
        number(record.jitter),
        number(record.loss),
        number(record.ping_loaded),
        record.bytes_sent.to_string(),
        record.bytes_received.to_string(),
        number(record.took_s),
        number(record.up_s),
        number(record.min_download),
        number(record.min_upload),
        number(record.max_latency),
        client.isp.unwrap_or_default(),
        client.asn.map_or_else(String::new, |asn| asn.to_string()),
        client.ip.unwrap_or_default(),
        server.name,
        server.sponsor,
    ];
    cells.iter().map(|cell| escaped(cell)).collect::<Vec<_>>().join(",")
}

/// A cell. Names come from who answers a test: one that a spreadsheet would take for a formula gets a
/// mark before it (OWASP, "CSV Injection").
fn escaped(cell: &str) -> String {
    let formula =
        cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Client, Server};

    #[test]
    fn a_row_has_a_cell_for_each_word_of_the_head() {
        let row = row(&Record::default());
        assert_eq!(row.split(',').count(), HEAD.split(',').count());
    }

    #[test]
    fn names_of_others_can_neither_end_a_cell_nor_begin_a_formula() {
        for (cell, want) in [
            ("Starlink", "Starlink"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("-1.5", "-1.5"),
            ("@SUM", "'@SUM"),
            ("", ""),
        ] {
            assert_eq!(escaped(cell), want);
        }
        let record = Record {
            client: Some(Client { isp: Some("=1+1".into()), ..Client::default() }),
            server: Some(Server { name: "a\nb".into(), ..Server::default() }),
            download: Some(1e7),
            ..Record::default()
        };
        let row = row(&record);
        assert!(row.contains(",10000000,about,") && row.contains(",'=1+1,"), "{row}");
        assert!(row.contains(",\"a\nb\","), "{row}");
    }
}
