//! `quelea config`: the options in force and where each comes from, as a configuration file or as JSON.

use crate::args::{CommandLine, ConfigArgs};
use crate::config::{self, Kind, Origin, Settled};
use crate::display;
use crate::exit::Status;
use clap::{Arg, CommandFactory};
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;

pub(crate) fn run(args: &ConfigArgs, settled: &Settled) -> anyhow::Result<Status> {
    let command = CommandLine::command();
    let options = config::options(&command);
    let text = if args.options.json { json_text(&options, settled)? } else { toml_text(&options, settled) };
    super::print(text.as_bytes())
}

/// The value of an option that has one.
fn value(kind: Kind, values: &[OsString]) -> Value {
    let text = |value: &OsString| value.to_string_lossy().into_owned();
    let one = values.first().map(text).unwrap_or_default();
    match kind {
        Kind::List => values.iter().map(text).collect(),
        Kind::Switch => Value::Bool(one == "true"),
        Kind::Number | Kind::Decimal => one.parse::<u64>().map_or_else(
            |_| one.parse::<f64>().map_or(Value::Null, |number| json!(number)),
            |number| json!(number),
        ),
        Kind::Size | Kind::Path | Kind::Text => Value::String(one),
    }
}

/// JSON's strings, numbers, lists and truth values are TOML's too, but for one character.
fn toml_value(value: &Value) -> String {
    let text = match value.as_array() {
        Some(values) => format!("[{}]", values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")),
        None => value.to_string(),
    };
    text.replace('\u{7f}', "\\u007f")
}

fn shown(path: &Path) -> String {
    display::clean(&path.to_string_lossy())
}

fn toml_text(options: &[&Arg], settled: &Settled) -> String {
    let mut text = match (&settled.file, config::default_path()) {
        (Some(file), _) => format!("# read from {}\n", shown(&file.path)),
        (None, Some(path)) => format!("# there is no {}\n", shown(&path)),
        (None, None) => String::new(),
    };
    for option in options {
        let name = option.get_long().unwrap_or_default();
        let (values, origin) = settled.value(option);
        let origin = match origin {
            Origin::CommandLine => "command line".to_owned(),
            Origin::Environment(variable) => format!("environment, {variable}"),
            Origin::File(line) => format!("file, line {line}"),
            Origin::Default => "default".to_owned(),
            Origin::Unset => {
                let _ = writeln!(text, "{:<31} # not set", format!("# {name} ="));
                continue;
            }
        };
        let setting = format!("{name} = {}", toml_value(&value(Kind::of(option), &values)));
        let _ = writeln!(text, "{setting:<31} # {origin}");
    }
    text
}

fn json_text(options: &[&Arg], settled: &Settled) -> anyhow::Result<String> {
    let mut rows = Map::new();
    for option in options {
        let (values, origin) = settled.value(option);
        let held = if origin == Origin::Unset { Value::Null } else { value(Kind::of(option), &values) };
        let mut row = json!({ "value": held });
        let (origin, place) = match origin {
            Origin::CommandLine => ("command line", None),
            Origin::Environment(variable) => ("environment", Some(("variable", json!(variable)))),
            Origin::File(line) => ("file", Some(("line", json!(line)))),
            Origin::Default => ("default", None),
            Origin::Unset => ("not set", None),
        };
        row["origin"] = json!(origin);
        if let Some((name, place)) = place {
            row[name] = place;
        }
        rows.insert(option.get_long().unwrap_or_default().to_owned(), row);
    }
    let file = settled.file.as_ref().map(|file| shown(&file.path));
    let mut text = serde_json::to_string_pretty(&json!({ "file": file, "options": rows }))?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_toml_reads_them() {
        let list = [OsString::from("a\"b"), OsString::from("c\u{7f}\n")];
        let text = format!("x = {}", toml_value(&value(Kind::List, &list)));
        assert_eq!(text, "x = [\"a\\\"b\", \"c\\u007f\\n\"]");
        let table = toml::de::DeTable::parse(&text).unwrap();
        let read = table.as_ref().get("x").unwrap().as_ref();
        assert_eq!(read.as_array().unwrap()[1].as_ref().as_str(), Some("c\u{7f}\n"));
        assert_eq!(toml_value(&value(Kind::Decimal, &["1.5".into()])), "1.5");
        assert_eq!(toml_value(&value(Kind::Number, &["6881".into()])), "6881");
        assert_eq!(toml_value(&value(Kind::Switch, &["true".into()])), "true");
    }
}
