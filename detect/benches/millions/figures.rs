//! Figures beside their limits, as a table for people or as JSON.

use serde::{Deserialize, Serialize};

/// One figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: String,
    /// The most that it may be.
    pub limit: Option<f64>,
    /// What it was made of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// What was measured.
#[derive(Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// Adds a figure, with a limit or without.
    pub fn add(
        &mut self,
        name: &str,
        (value, unit): (f64, &str),
        limit: impl Into<Option<f64>>,
    ) -> &mut Self {
        let (name, unit, limit) = (name.to_owned(), unit.to_owned(), limit.into());
        self.0.push(Figure { name, value, unit, limit, note: String::new() });
        self
    }

    /// Says what the last figure was made of.
    pub fn note(&mut self, note: String) {
        let figure = self.0.last_mut().unwrap();
        figure.note = if figure.note.is_empty() { note } else { format!("{}; {note}", figure.note) };
    }

    pub fn add_all(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// The value of a figure.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }

    /// For the process that started this one.
    pub fn write(&self) {
        for figure in &self.0 {
            println!("{}", serde_json::to_string(figure).unwrap());
        }
    }

    /// What [`Figures::write`] wrote.
    pub fn read(lines: &[u8]) -> Self {
        let lines = std::str::from_utf8(lines).unwrap().lines();
        Self(lines.map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    /// Prints all; false when one is over its limit.
    pub fn print(&self, json: bool) -> bool {
        if json {
            self.write();
        } else {
            self.print_table();
        }
        self.0.iter().all(|figure| !figure.is_over())
    }

    fn print_table(&self) {
        let width = self.0.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0);
        for figure in &self.0 {
            let Figure { name, value, unit, limit, note } = figure;
            let said = limit.map_or(String::new(), |limit| format!("limit {}", number(limit)));
            let mark = if figure.is_over() { "OVER" } else { "" };
            println!("{name:width$}  {:>14} {unit:12} {said:16} {mark:4} {note}", number(*value));
        }
    }
}

impl Figure {
    fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.value > limit)
    }
}

/// Three digits that say something, and thousands apart.
fn number(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
