//! A report as people read it: text and HTML. (As JSON it is itself.)

use std::fmt::Write as _;

use crate::suite::{Finding, Report};
use crate::verdict::Verdict;

/// The chapter of the book that a clause is in, and the room of the report.
fn chapter(clause: &str) -> &str {
    clause.split('-').next().unwrap_or(clause)
}

/// The counts, in one line.
#[must_use]
pub fn summary(report: &Report) -> String {
    let count = |verdict| report.count(verdict);
    format!(
        "{}: {} clauses followed, {} not, {} not shown",
        report.peer,
        count(Verdict::Follows),
        count(Verdict::Deviates),
        count(Verdict::NotShown)
    )
}

/// One finding, in one line or a few.
#[must_use]
pub fn line(finding: &Finding, with_trace: bool) -> String {
    let Finding { clause, title, verdict, reason, known, trace, .. } = finding;
    let mut text = format!("{clause:<11} {verdict:<10} {title}");
    if let Some(reason) = reason {
        let _ = write!(text, "{}{reason}", if title.is_empty() { "" } else { "\n                       " });
    }
    for known in known {
        let _ = write!(text, "\n                       known of {known}");
    }
    for step in trace.iter().filter(|_| with_trace) {
        let _ = write!(text, "\n                       | {step}");
    }
    text
}

/// The whole report as a page of HTML that needs nothing else.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Conformance</title>\n<style>\n\
         body{font:15px/1.4 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}\n\
         table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.3em .6em;\
         text-align:left;vertical-align:top}\n.follows{color:#176a2c}.deviates{color:#a31515;font-weight:bold}\
         .not-shown{color:#666}\npre{font-size:12px;background:#f4f4f4;padding:.5em;overflow-x:auto}\n\
         </style></head><body>\n",
    );
    let _ = writeln!(page, "<h1>{}</h1>\n<p>{}</p>", escaped(&report.peer), escaped(&summary(report)));
    let mut last = "";
    for finding in &report.findings {
        let now = chapter(finding.clause);
        if now != last {
            let end = if last.is_empty() { "" } else { "</table>\n" };
            let _ = writeln!(page, "{end}<h2>{now}</h2>\n<table>");
            last = now;
        }
        let class = finding.verdict.to_string().replace(' ', "-");
        let _ = write!(
            page,
            "<tr><td id=\"{0}\">{0}</td><td class=\"{class}\">{1}</td><td>{2}",
            finding.clause,
            finding.verdict,
            escaped(finding.title)
        );
        for text in
            finding.reason.iter().cloned().chain(finding.known.iter().map(|who| format!("known of {who}")))
        {
            let _ = write!(page, "<br>{}", escaped(&text));
        }
        if !finding.trace.is_empty() {
            let _ = write!(
                page,
                "<details><summary>trace</summary><pre>{}</pre></details>",
                escaped(&finding.trace.join("\n"))
            );
        }
        page.push_str("</td></tr>\n");
    }
    page.push_str("</table>\n</body></html>\n");
    page
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Role;

    #[test]
    fn nothing_that_a_peer_says_gets_into_the_page_as_markup() {
        let finding = Finding {
            clause: "NS-2",
            title: "announces names",
            verdict: Verdict::Deviates,
            reason: Some("announced <script>&\"".to_owned()),
            known: vec!["OpenAMP: <b>".to_owned()],
            trace: vec!["</pre><script>".to_owned()],
            milliseconds: 1,
        };
        let report =
            Report { schema: 1, peer: "<i>".to_owned(), role: Role::Remote, findings: vec![finding] };
        let page = html(&report);
        assert!(!page.contains("<script>") && !page.contains("<i>") && !page.contains("<b>"));
        assert!(page.contains("announced &lt;script&gt;&amp;&quot;"));
        assert!(summary(&report).ends_with("0 clauses followed, 1 not, 0 not shown"));
        assert!(line(&report.findings[0], true).contains("known of OpenAMP"));
    }
}
