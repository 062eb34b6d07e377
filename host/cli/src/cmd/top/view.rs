//! How it is drawn.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row as Cells, Table, TableState};

use super::model::{All, Model, Row};
use crate::failure::printable;
use crate::output;

/// Rows of the list at least, where there is room for that.
const LIST: u16 = 4;

const HEAD: [&str; 7] = ["remote", "state", "kind", "firmware", "channels", "to/s", "from/s"];

/// One look as a table.
pub(super) fn table(all: &All) -> String {
    let mut table =
        output::table(&["remote", "state", "kind", "firmware", "channels", "endpoints", "sent", "received"]);
    for row in &all.remotes {
        let texts = [&row.remote, &row.state, &row.kind, &row.firmware].map(|text| printable(text));
        let numbers = [row.endpoints.len() as u64, row.sent, row.received].map(|number| number.to_string());
        table.add_row(texts.into_iter().chain([channels(row)]).chain(numbers));
    }
    output::lines(&table)
}

fn channels(row: &Row) -> String {
    let names: Vec<String> = row.channels.iter().map(|channel| printable(&channel.name)).collect();
    names.join(" ")
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let rows = &model.all.remotes;
    let area = frame.area();
    // The list has what it needs, and half of the height at most.
    let list = (rows.len() as u16 + 1).clamp(LIST, (area.height / 2).max(LIST));
    let parts = [Constraint::Length(1), Constraint::Length(list), Constraint::Fill(1), Constraint::Length(1)];
    let [title, list, detail, keys] = Layout::vertical(parts).areas(area);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let words = format!("sidecore: {}, {}", model.way, counted(rows.len(), "remote"));
    frame.render_widget(Paragraph::new(words).style(bold), title);
    draw_list(frame, list, model);
    draw_detail(frame, detail, model);
    let dim = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(Paragraph::new("arrows select   q leaves").style(dim), keys);
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let rows = model.all.remotes.iter().map(|row| {
        let texts = [&row.remote, &row.state, &row.kind, &row.firmware].map(|text| printable(text));
        let rates = [rate(row.sent_per_s), rate(row.received_per_s)];
        Cells::new(texts.into_iter().chain([channels(row)]).chain(rates)).style(color(&row.state))
    });
    let widths = [
        Constraint::Min(14),
        Constraint::Length(9),
        Constraint::Length(12),
        Constraint::Min(8),
        Constraint::Min(12),
        Constraint::Length(7),
        Constraint::Length(7),
    ];
    let head = Cells::new(HEAD.map(str::to_uppercase)).style(Style::new().add_modifier(Modifier::BOLD));
    let table = Table::new(rows, widths)
        .header(head)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(model.position());
    frame.render_stateful_widget(table, area, &mut state);
}

fn color(state: &str) -> Style {
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return Style::new();
    }
    match state {
        "running" | "attached" => Style::new().fg(Color::Green),
        "crashed" => Style::new().fg(Color::Red),
        _ => Style::new(),
    }
}

/// A number for a second as it fits a column.
fn rate(rate: f64) -> String {
    match rate {
        ..0.05 => "0".to_owned(),
        ..10.0 => format!("{rate:.1}"),
        ..100_000.0 => format!("{rate:.0}"),
        _ => format!("{:.0}k", rate / 1000.0),
    }
}

/// The channels and endpoints of the selected one, and as much as there is room for of what it says.
fn draw_detail(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let Some(row) = model.position().and_then(|at| model.all.remotes.get(at)) else { return };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut lines = vec![Line::raw(""), Line::styled(printable(&title(row)), bold)];
    for channel in &row.channels {
        let name = printable(&channel.name);
        lines.push(Line::raw(format!("  {name} at {} (vdev{})", channel.address, channel.device)));
    }
    for endpoint in &row.endpoints {
        let service = if endpoint.service.is_empty() { "no service" } else { &endpoint.service };
        let words = format!(
            "  endpoint {} for {service}: {} sent, {} received, {}",
            endpoint.address, endpoint.sent, endpoint.received, endpoint.client
        );
        lines.push(Line::raw(printable(&words)));
    }
    // What it says has a third of it at least.
    lines.truncate((usize::from(area.height) * 2 / 3).max(2));
    let room = usize::from(area.height).saturating_sub(lines.len() + 1);
    let mut said: Vec<&str> = model.lines().rev().take(room).collect();
    said.reverse();
    if !said.is_empty() {
        lines.push(Line::raw(""));
        lines.extend(said.into_iter().map(Line::raw));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn title(row: &Row) -> String {
    let restarts = row.restarts.map(|restarts| format!(", {}", counted(restarts as usize, "restart")));
    let lease = row.lease.as_ref().filter(|lease| *lease != "none").map(|lease| format!(", lease {lease}"));
    format!("{}: {}{}{}", row.remote, row.state, restarts.unwrap_or_default(), lease.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::cmd::top::model::Channel;
    use crate::details::Endpoint;

    fn rows() -> Vec<Row> {
        let channel = |name: &str| Channel { name: name.to_owned(), device: 0, address: 1024 };
        let endpoint = Endpoint {
            address: 1026,
            service: "rpmsg-echo".to_owned(),
            sent: 7,
            received: 5,
            ..Endpoint::default()
        };
        vec![
            Row {
                remote: "radio".to_owned(),
                kind: "sandbox".to_owned(),
                state: "running".to_owned(),
                firmware: "echo".to_owned(),
                restarts: Some(1),
                channels: vec![channel("rpmsg-echo"), channel("\u{1b}[2Jrpmsg")],
                endpoints: vec![endpoint],
                sent: 7,
                received: 5,
                sent_per_s: 1234.5,
                ..Row::default()
            },
            Row { remote: "remoteproc0".to_owned(), state: "offline".to_owned(), ..Row::default() },
        ]
    }

    fn drawn(width: u16, height: u16, model: &Model) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n")
            .collect()
    }

    #[test]
    fn a_terminal_of_the_usual_size_shows_all_of_it() {
        let mut model = Model::of(rows(), &["12:00:00.000 trace0: echo: up"]);
        let screen = drawn(80, 24, &model);
        for part in [
            "sidecore: no daemon, 2 remotes",
            "REMOTE",
            "radio",
            "remoteproc0",
            "1234",
            "radio: running, 1 restart",
            "rpmsg-echo at 1024 (vdev0)",
            "endpoint 1026 for rpmsg-echo: 7 sent, 5 received",
            "trace0: echo: up",
            "q leaves",
        ] {
            assert!(screen.contains(part), "{part}: {screen}");
        }
        assert!(!screen.contains('\u{1b}'), "{screen}");
        model.select(1);
        assert!(drawn(80, 24, &model).contains("remoteproc0: offline"));
        model.select(100);
        assert_eq!(model.position(), Some(1));
        model.select(-100);
        assert_eq!(model.position(), Some(0));
    }

    #[test]
    fn no_size_is_too_small_and_no_number_of_remotes_too_large() {
        let lines: Vec<String> = (0..200).map(|number| format!("line {number}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let many = (0..1000).map(|number| Row {
            remote: format!("r{number}"),
            channels: rows()[0].channels.clone(),
            ..Row::default()
        });
        let mut many = Model::of(many.collect(), &lines);
        many.select(500);
        for (width, height) in [(1, 1), (5, 2), (20, 5), (80, 24), (300, 100)] {
            for model in [&Model::of(Vec::new(), &[]), &Model::of(rows(), &lines), &many] {
                drawn(width, height, model);
            }
        }
        let screen = drawn(80, 24, &many);
        assert!(screen.contains("r500") && !screen.contains("r400"), "{screen}");
    }

    #[test]
    fn rates_fit_their_column() {
        let texts = [0.0, 0.1, 9.96, 99_999.0, 1e6, f64::MAX].map(rate);
        assert_eq!(texts[..5], ["0", "0.1", "10.0", "99999", "1000k"]);
    }
}
