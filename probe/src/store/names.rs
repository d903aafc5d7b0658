//! Numbers a store's commands for the kernel's table.

use probe_common::resp::{CommandClass, CommandSpec, Effect, FAMILIES, MAX_COMMANDS, MAX_NAME};
use store::commands::{Class, Command, Family};

/// The names of the commands by number. Number 0 is unknown commands.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommandNames {
    names: Vec<String>,
    specs: Vec<(String, CommandSpec)>,
    /// The source of the list.
    pub(crate) source: String,
    /// Commands that have no number, because there are too many.
    pub(crate) left_out: usize,
}

impl CommandNames {
    /// Replaces the list. A name keeps its number. Returns whether anything has changed.
    pub(crate) fn update(&mut self, commands: &[Command], source: String) -> bool {
        if self.names.is_empty() {
            self.names.push("unknown".to_owned());
        }
        self.source = source;
        self.left_out = 0;
        let mut specs: Vec<(String, CommandSpec)> = Vec::with_capacity(commands.len());
        for command in commands {
            if command.name.is_empty() || command.name.len() > MAX_NAME as usize {
                self.left_out += 1;
                continue;
            }
            let known = self.names.iter().skip(1).position(|name| *name == command.name).map(|at| at + 1);
            let number = match known {
                Some(number) => number,
                None if self.names.len() < MAX_COMMANDS => {
                    self.names.push(command.name.clone());
                    self.names.len() - 1
                }
                None => {
                    self.left_out += 1;
                    continue;
                }
            };
            specs.push((command.name.clone(), spec(command, number)));
        }
        let changed = specs != self.specs;
        self.specs = specs;
        changed
    }

    /// The commands for the kernel's table.
    pub(crate) fn specs(&self) -> &[(String, CommandSpec)] {
        &self.specs
    }

    /// All names with their numbers, without the unknown ones.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.names.iter().map(String::as_str).enumerate().skip(1)
    }

    /// Whether a name has a number.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.iter().skip(1).any(|known| known == name)
    }
}

const _: () = assert!(Family::ALL.len() == FAMILIES && Family::TimeSeries as usize + 1 == FAMILIES);

fn spec(command: &Command, number: usize) -> CommandSpec {
    let keys = command.keys;
    CommandSpec {
        number: u16::try_from(number).unwrap_or_default(),
        family: command.family as u8,
        class: match command.class {
            Class::Other => CommandClass::Other,
            Class::Read => CommandClass::Read,
            Class::Write => CommandClass::Write,
        },
        effect: Effect::of_name(command.name.as_bytes()),
        blocks: command.blocks,
        first_key: keys.first,
        last_key: keys.last,
        step: keys.step,
        numkeys: keys.count_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::commands::{Family, KeyPositions, built_in};

    #[test]
    fn names_keep_their_numbers_and_excess_names_are_counted() {
        let mut names = CommandNames::default();
        assert!(names.update(&built_in(), "a".to_owned()));
        assert!(!names.update(&built_in(), "b".to_owned()));
        let number =
            |names: &CommandNames| names.specs().iter().find(|(name, _)| name == "zscore").unwrap().1.number;
        let before = number(&names);
        let one = |n: usize| Command {
            name: format!("mod.{n}"),
            class: Class::Read,
            family: Family::Other,
            keys: KeyPositions::default(),
            blocks: false,
        };
        let more: Vec<Command> = (0..400).map(one).chain(built_in()).collect();
        assert!(names.update(&more, "c".to_owned()));
        assert_eq!((number(&names), names.has("unknown"), names.has("get")), (before, false, true));
        assert_eq!(names.left_out, 400 + built_in().len() + 1 - MAX_COMMANDS);
        let numbers: std::collections::BTreeSet<u16> =
            names.specs().iter().map(|(_, spec)| spec.number).collect();
        assert_eq!((numbers.len(), numbers.first(), numbers.last()), (511, Some(&1), Some(&511)));
    }
}
