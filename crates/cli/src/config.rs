//! The configuration file, and where each option has its value from: the command line wins over the environment,
//! that over the file, that over the defaults.
//!
//! Its keys are the long names of the options in `args`. A file's values become the defaults of the options, and the
//! command line is read once more: so the parser itself settles who wins, and checks them.

use crate::args::CommandLine;
use crate::display;
use crate::exit::Status;
use crate::home;
use crate::report;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use std::any::TypeId;
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// A configuration file is read up to this many bytes.
const LIMIT: u64 = 1 << 20;
/// The option that names the file. What has it takes options from there.
const OPTION: &str = "config";

/// The command line, what the file adds to it, and where each option has its value from.
pub(crate) fn settle() -> anyhow::Result<(CommandLine, Settled)> {
    let described = CommandLine::command();
    let matches = matches_of(&described, described.clone());
    let leaf = matches.subcommand().map_or(&matches, |(_, leaf)| leaf);
    let asked = match leaf.try_get_one::<PathBuf>(OPTION) {
        Ok(asked) => asked,
        Err(_) => return Ok((read(&matches)?, Settled { matches, file: None })),
    };
    let file = match asked {
        Some(path) => Some(Settings::read(path)?),
        None => match default_path().map(|path| Settings::read(&path)) {
            Some(Err(Unread { kind: ErrorKind::NotFound, .. })) | None => None,
            Some(read) => Some(read?),
        },
    };
    let matches = match &file {
        Some(file) => matches_of(&described, file.below(described.clone())),
        None => matches,
    };
    Ok((read(&matches)?, Settled { matches, file }))
}

/// Parses the command line by `command`; what cannot be read ends the program, with the variable's name if it is a
/// variable that is to blame.
fn matches_of(described: &Command, command: Command) -> ArgMatches {
    command.try_get_matches().unwrap_or_else(|error| {
        if let Some(blamed) = blamed_variable(&error, described, std::env::args_os().skip(1)) {
            report::error(None, &Status::Usage.because(blamed));
            std::process::exit(Status::Usage.code().into());
        }
        error.exit()
    })
}

/// The message for a value that a variable has and no argument.
fn blamed_variable(
    error: &clap::Error,
    described: &Command,
    mut arguments: impl Iterator<Item = OsString>,
) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(_) | None => None,
    };
    let (named, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
    let long = named.trim_start_matches('-').split([' ', '=', '[']).next()?;
    let commands = std::iter::once(described).chain(described.get_subcommands());
    let option = commands.flat_map(Command::get_arguments).find(|option| option.get_long() == Some(long))?;
    let variable = option.get_env()?;
    let set = std::env::var_os(variable)?.to_string_lossy().into_owned();
    let delimiter = option.get_value_delimiter();
    let has_it =
        set == value || delimiter.is_some_and(|between| set.split(between).any(|part| part == value));
    if !has_it || arguments.any(|argument| argument.to_string_lossy().ends_with(value)) {
        return None;
    }
    let reason = match (Kind::of(option), error.source()) {
        (Kind::Switch, _) => "it is yes or no".to_owned(),
        (_, Some(reason)) => reason.to_string(),
        (_, None) => "not a value for this option".to_owned(),
    };
    let (variable, value) = (variable.to_string_lossy(), display::clean(value));
    Some(format!("the variable {variable} cannot be '{value}': {}", display::clean(&reason)))
}

fn read(matches: &ArgMatches) -> anyhow::Result<CommandLine> {
    CommandLine::from_arg_matches(matches).map_err(|error| Status::Usage.because(error.to_string()))
}

/// Where the file is when nothing else is said; the folder is that of the XDG Base Directory Specification.
pub(crate) fn default_path() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let parent = if cfg!(windows) {
        folder("APPDATA")
    } else {
        folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))
    };
    parent.map(|parent| parent.join("quelea").join("config.toml"))
}

/// The options that a file may hold, as they are described.
pub(crate) fn options(command: &Command) -> Vec<&Arg> {
    let get = command.find_subcommand("get").unwrap_or(command);
    let named = |arg: &&Arg| arg.get_long().is_some() && arg.get_env().is_some() && arg.get_id() != OPTION;
    get.get_arguments().filter(named).collect()
}

/// What an option's value looks like in TOML and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Switch,
    Number,
    Decimal,
    /// Bytes, or text with a unit.
    Size,
    Path,
    Text,
    /// One text or several.
    List,
}

impl Kind {
    pub(crate) fn of(arg: &Arg) -> Self {
        let type_id = arg.get_value_parser().type_id();
        if matches!(arg.get_action(), ArgAction::Append) {
            Self::List
        } else if matches!(arg.get_action(), ArgAction::Count) || type_id == TypeId::of::<u16>() {
            Self::Number
        } else if type_id == TypeId::of::<bool>() {
            Self::Switch
        } else if type_id == TypeId::of::<u64>() {
            Self::Size
        } else if type_id == TypeId::of::<f64>() {
            Self::Decimal
        } else if type_id == TypeId::of::<PathBuf>() {
            Self::Path
        } else {
            Self::Text
        }
    }

    const fn example(self) -> &'static str {
        match self {
            Self::Switch => "true or false",
            Self::Number => "a whole number",
            Self::Decimal => "a number",
            Self::Size => "a size such as \"64M\"",
            Self::Path => "a path in quotation marks",
            Self::Text => "text in quotation marks",
            Self::List => "a list such as [\"one\", \"two\"]",
        }
    }

    /// The value as it would stand on the command line; `None` where it is of another type.
    fn texts(self, value: &DeValue<'_>) -> Option<Vec<String>> {
        let one = match (self, value) {
            (Self::Switch, DeValue::Boolean(value)) => value.to_string(),
            (Self::Number | Self::Decimal | Self::Size, DeValue::Integer(value)) => {
                i64::from_str_radix(value.as_str(), value.radix()).ok()?.to_string()
            }
            (Self::Decimal, DeValue::Float(value)) => value.as_str().to_owned(),
            (Self::Size | Self::Path | Self::Text | Self::List, DeValue::String(value)) => value.to_string(),
            (Self::List, DeValue::Array(values)) => {
                let text = |value: &toml::Spanned<DeValue<'_>>| value.as_ref().as_str().map(str::to_owned);
                return values.iter().map(text).collect();
            }
            _ => return None,
        };
        Some(vec![one])
    }
}

/// A file that could not be used.
#[derive(Debug)]
struct Unread {
    kind: ErrorKind,
    status: Status,
    message: String,
}

impl From<Unread> for anyhow::Error {
    fn from(unread: Unread) -> Self {
        unread.status.because(unread.message)
    }
}

/// What a configuration file says.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) path: PathBuf,
    /// By the option's id: its values, and the line.
    values: BTreeMap<String, (Vec<String>, usize)>,
}

impl Settings {
    fn read(path: &Path) -> Result<Self, Unread> {
        let shown = display::clean(&path.to_string_lossy());
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_string(&mut text));
        if let Err(error) = read {
            let (kind, error) = (error.kind(), display::plain(&error.to_string()));
            let message = format!("cannot read the configuration file {shown}: {error}");
            return Err(Unread { kind, status: Status::Disk, message });
        }
        let wrong = |message: String| Unread { kind: ErrorKind::InvalidData, status: Status::Usage, message };
        if text.len() as u64 > LIMIT {
            let limit = display::bytes(LIMIT);
            return Err(wrong(format!("{shown} is larger than {limit}: not a configuration file")));
        }
        let values = parse(&text, &CommandLine::command()).map_err(|Fault { span, message }| {
            let (line, column) = position(&text, span.start);
            wrong(format!("{shown}:{line}:{column}: {}", display::clean(&message)))
        })?;
        Ok(Self { path: path.to_path_buf(), values })
    }

    /// The command with the file's values as defaults, wherever it takes options from a file.
    fn below(&self, command: Command) -> Command {
        let names: Vec<String> = command.get_subcommands().map(|each| each.get_name().to_owned()).collect();
        let apply = |mut command: Command| {
            let ids: Vec<String> = command.get_arguments().map(|arg| arg.get_id().to_string()).collect();
            if ids.iter().any(|id| id == OPTION) {
                for (id, (values, _)) in self.values.iter().filter(|(id, _)| ids.contains(id)) {
                    command = command.mut_arg(id, |arg| arg.default_values(values.clone()));
                }
            }
            command
        };
        names.iter().fold(apply(command), |command, name| command.mut_subcommand(name, apply))
    }
}

/// Something wrong at a place of the file.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    span: Range<usize>,
    message: String,
}

/// The line and the column, in characters, of a byte; from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

fn parse(text: &str, command: &Command) -> Result<BTreeMap<String, (Vec<String>, usize)>, Fault> {
    let options = options(command);
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let message = bare_value(text, span.start, &options);
        Fault { span, message: message.unwrap_or_else(|| error.message().replace('\n', ", ")) }
    })?;
    let mut values = BTreeMap::new();
    for (key, value) in table.into_inner() {
        let name = key.as_ref().as_ref();
        let Some(option) = options.iter().find(|option| option.get_long() == Some(name)) else {
            let hint = match similar(name, &options) {
                Some(name) => format!("did you mean {name}?"),
                None => "`quelea config` prints the keys".to_owned(),
            };
            return Err(Fault { span: key.span(), message: format!("there is no option {name}: {hint}") });
        };
        let fault = |message: String| Fault { span: value.span(), message };
        let kind = Kind::of(option);
        let texts = kind.texts(value.as_ref()).ok_or_else(|| {
            fault(format!("{name} must be {}, not {}", kind.example(), article(value.as_ref())))
        })?;
        for text in &texts {
            check(option, text).map_err(|reason| fault(format!("{name} = {text}: {reason}")))?;
        }
        let line = position(text, key.span().start).0;
        values.insert(option.get_id().to_string(), (texts, line));
    }
    Ok(values)
}

/// What is wrong where an option's value at `at` is a bare word, as people write it elsewhere: `seed = yes`.
fn bare_value(text: &str, at: usize, options: &[&Arg]) -> Option<String> {
    let begin = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(begin..)?.lines().next()?;
    let (name, value) = line.split_once('=')?;
    if at <= begin + name.len() {
        return None;
    }
    let name = name.trim();
    let option = options.iter().find(|option| option.get_long() == Some(name))?;
    let value = value.split('#').next().unwrap_or_default().trim();
    // A value that has begun to be TOML is a matter for its parser.
    let bare = !value.is_empty()
        && !value.starts_with(['"', '\'', '[', '{'])
        && DeTable::parse(&format!("x = {value}")).is_err();
    bare.then(|| format!("{name} must be {}, not {value}", Kind::of(option).example()))
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "such a list",
        DeValue::Table(_) => "a table",
    }
}

/// Whether the option itself takes the value; if not, why.
fn check(option: &Arg, text: &str) -> Result<(), String> {
    if matches!(option.get_action(), ArgAction::Count) {
        return text.parse::<u8>().map(drop).map_err(|_| "not in 0..=255".to_owned());
    }
    let alone = Command::new("quelea").no_binary_name(true).arg((*option).clone());
    let argument = format!("--{}={text}", option.get_long().unwrap_or_default());
    let error = match alone.try_get_matches_from([argument]) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    Err(error.source().map_or_else(|| "not a value for this option".to_owned(), ToString::to_string))
}

/// The name of an option that `name` may be meant for.
fn similar(name: &str, options: &[&Arg]) -> Option<String> {
    let all =
        Command::new("quelea").no_binary_name(true).args(options.iter().map(|option| (*option).clone()));
    let error = all.try_get_matches_from([format!("--{}", name.replace('_', "-").to_lowercase())]);
    match error.map_err(|error| error.get(ContextKind::SuggestedArg).cloned()) {
        Err(Some(ContextValue::String(meant))) => Some(meant.trim_start_matches('-').to_owned()),
        // Only the way it was written was wrong.
        Ok(_) | Err(_) => {
            let meant = name.replace('_', "-").to_lowercase();
            options.iter().any(|option| option.get_long() == Some(&meant)).then_some(meant)
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    CommandLine,
    /// The variable's name.
    Environment(String),
    /// The line of the file.
    File(usize),
    Default,
    /// There is no value.
    Unset,
}

/// All values as they are in force.
#[derive(Debug)]
pub(crate) struct Settled {
    matches: ArgMatches,
    pub(crate) file: Option<Settings>,
}

impl Settled {
    /// An option's values, as they would stand on the command line, and where they come from.
    pub(crate) fn value(&self, option: &Arg) -> (Vec<OsString>, Origin) {
        let id = option.get_id().as_str();
        let leaf = self.matches.subcommand().map_or(&self.matches, |(_, leaf)| leaf);
        let values = if matches!(option.get_action(), ArgAction::Count) {
            vec![leaf.get_count(id).to_string().into()]
        } else if Kind::of(option) == Kind::Switch {
            vec![leaf.get_flag(id).to_string().into()]
        } else {
            let values = leaf.get_raw(id).map(|values| values.map(OsString::from)).into_iter().flatten();
            if Kind::of(option) == Kind::Path {
                values.map(|value| home::expand(value).into_os_string()).collect()
            } else {
                values.collect()
            }
        };
        let line = self.file.as_ref().and_then(|file| file.values.get(id)).map(|(_, line)| *line);
        let origin = match (leaf.value_source(id), line) {
            (Some(ValueSource::CommandLine), _) => Origin::CommandLine,
            (Some(ValueSource::EnvVariable), _) => {
                Origin::Environment(option.get_env().unwrap_or_default().to_string_lossy().into_owned())
            }
            (Some(_), Some(line)) => Origin::File(line),
            (Some(_), None) => Origin::Default,
            (None, _) => Origin::Unset,
        };
        (values, origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(text: &str) -> String {
        let fault = parse(text, &CommandLine::command()).unwrap_err();
        let (line, column) = position(text, fault.span.start);
        format!("{line}:{column}: {}", fault.message)
    }

    #[test]
    fn every_option_but_the_file_itself_is_a_key() {
        let command = CommandLine::command();
        let names: Vec<&str> = options(&command).iter().filter_map(|option| option.get_long()).collect();
        for name in ["output-dir", "select", "seed", "seed-ratio", "port", "bind", "max-memory", "verbose"] {
            assert!(names.contains(&name), "{name}");
        }
        assert!(!names.contains(&"config") && !names.contains(&"help"));
    }

    #[test]
    fn values_are_of_the_options_own_type() {
        let text = "port = 0x1000\nseed = true\nseed-ratio = 2\nbind = [\"127.0.0.1\", \"::1\"]\n\
                    select = \"*.txt\"\nmax-memory = 67_108_864\nverbose = 2\nseed-time = \"1h\"";
        let values = parse(text, &CommandLine::command()).unwrap();
        let value = |id: &str| values[id].0.join("|");
        assert_eq!(value("port"), "4096");
        assert_eq!(value("seed"), "true");
        assert_eq!(value("bind"), "127.0.0.1|::1");
        assert_eq!(value("max_memory"), "67108864");
        assert_eq!(values["seed_time"].1, 8);
    }

    #[test]
    fn faults_are_told_with_their_place_and_a_hint() {
        for (text, told) in [
            ("seed = yes", "1:8: seed must be true or false, not yes"),
            ("# x\nseed = True # y", "2:8: seed must be true or false, not True"),
            ("output-dir = ~/x", "1:14: output-dir must be a path in quotation marks, not ~/x"),
            ("seed-time = 2h", "1:13: seed-time must be text in quotation marks, not 2h"),
            ("max-memory = 64M", "1:14: max-memory must be a size such as \"64M\", not 64M"),
            ("# é\n  prot = 1", "2:3: there is no option prot: did you mean port?"),
            ("output_dir = \"x\"", "1:1: there is no option output_dir: did you mean output-dir?"),
            ("zzz = 1", "1:1: there is no option zzz: `quelea config` prints the keys"),
            ("config = \"x\"", "1:1: there is no option config: "),
            ("[seed]\nx = 1", "1:1: seed must be true or false, not a table"),
            ("port = \"6881\"", "1:8: port must be a whole number, not text"),
            ("port = 70000", "1:8: port = 70000: 70000 is not in 0..=65535"),
            ("seed = 1", "1:8: seed must be true or false, not a whole number"),
            ("bind = [1]", "1:8: bind must be a list such as [\"one\", \"two\"], not such a list"),
            ("bind = [\"nosuch\"]", "1:8: bind = nosuch: not an IP address"),
            ("seed-time = \"soon\"", "1:13: seed-time = soon: not a length of time"),
            ("verbose = 300", "1:11: verbose = 300: not in 0..=255"),
            ("port = 1\nport = 2", "2:1: duplicate key"),
        ] {
            assert!(fault(text).starts_with(told), "{text}: {}", fault(text));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_at_a_place_in_it(text in "[a-z\\[\\]=\"# \n0-9.{}é-]{0,30}") {
            if let Err(fault) = parse(&text, &CommandLine::command()) {
                prop_assert!(fault.span.start <= text.len());
                prop_assert!(!fault.message.is_empty());
            }
        }
    }
}
