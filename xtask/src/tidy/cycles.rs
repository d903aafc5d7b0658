//! Finds import cycles between the modules of a crate.
//!
//! An edge is a path that starts with `crate::`, `super::` or `self::`. Test code is excluded. Edges between a module
//! and its own descendants are excluded, too.

mod tokens;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokens::{Token, tokens};

/// A module's path from its crate's root.
type Module = Vec<String>;

/// Each module of a crate, with the modules that it refers to.
type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// Returns one line for each cycle. `files` are names and contents.
pub(crate) fn problems(files: &[(String, String)]) -> Vec<String> {
    let mut crates: BTreeMap<&str, Vec<(Module, &str)>> = BTreeMap::new();
    for (name, content) in files {
        if let Some((krate, module)) = module_of(name) {
            crates.entry(krate).or_default().push((module, content));
        }
    }
    crates.iter().flat_map(|(krate, sources)| cycles(krate, &graph(sources))).collect()
}

/// The crate's folder and the module of a source file. `None` for a binary of its own and for test files.
fn module_of(name: &str) -> Option<(&str, Module)> {
    let (krate, path) = name.strip_suffix(".rs")?.split_once("/src/")?;
    let path: Module = match path {
        "main" | "lib" => Vec::new(),
        _ => path.split('/').map(str::to_owned).collect(),
    };
    let is_test = path.last().is_some_and(|last| last == "tests" || last.ends_with("_tests"));
    (!is_test && path.first().is_none_or(|first| first != "bin")).then_some((krate, path))
}

fn graph(sources: &[(Module, &str)]) -> Graph {
    let mut parsed = Vec::new();
    let mut tests = Vec::new();
    for (module, content) in sources {
        let (kept, test_modules) = without_tests(&tokens(content));
        tests.extend(test_modules.into_iter().map(|name| child(module, name)));
        parsed.push((module, kept));
    }
    parsed.retain(|(module, _)| !tests.iter().any(|test| module.starts_with(test)));
    let known: BTreeSet<&Module> = parsed.iter().map(|(module, _)| *module).collect();
    let mut graph = Graph::new();
    for (module, kept) in &parsed {
        let named = named(module, kept).into_iter().map(|mut path| {
            while !path.is_empty() && !known.contains(&path) {
                path.pop();
            }
            path
        });
        let others = named.filter(|other| !module.starts_with(other) && !other.starts_with(module));
        graph.entry((*module).clone()).or_default().extend(others);
    }
    graph
}

fn child(module: &Module, name: &str) -> Module {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// The tokens outside test items, and the names of modules that are declared only for tests.
fn without_tests<'a>(all: &[Token<'a>]) -> (Vec<Token<'a>>, Vec<&'a str>) {
    let (mut kept, mut test_modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < all.len() {
        if !is_for_tests(&all[at..]) {
            kept.push(all[at]);
            at += 1;
            continue;
        }
        while all.get(at) == Some(&Token::Mark('#')) {
            at = group_end(all, at + 1);
        }
        let start = at;
        at = item_end(all, start);
        for declared in all[start..at].windows(3) {
            if let [Token::Word("mod"), Token::Word(name), Token::Mark(';')] = declared {
                test_modules.push(*name);
            }
        }
    }
    (kept, test_modules)
}

/// Whether `rest` starts with an attribute `#[cfg(test …)]` or `#[cfg(all(test …))]`.
fn is_for_tests(rest: &[Token<'_>]) -> bool {
    use Token::{Mark, Word};
    let [Mark('#'), Mark('['), Word("cfg"), Mark('('), condition @ ..] = rest else { return false };
    matches!(condition, [Word("test"), ..] | [Word("all"), Mark('('), Word("test"), ..])
}

/// The index after the group that opens at `at`.
fn group_end(all: &[Token<'_>], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in all.iter().enumerate().skip(at) {
        match token {
            Token::Mark('(' | '[' | '{') => depth += 1,
            Token::Mark(')' | ']' | '}') if depth <= 1 => return index + 1,
            Token::Mark(')' | ']' | '}') => depth -= 1,
            _ => {}
        }
    }
    all.len()
}

/// The index after the item that starts at `at`, which ends with a semicolon or braces.
fn item_end(all: &[Token<'_>], mut at: usize) -> usize {
    while at < all.len() {
        match all[at] {
            Token::Mark(';') => return at + 1,
            Token::Mark('{') => return group_end(all, at),
            Token::Mark('(' | '[') => at = group_end(all, at),
            _ => at += 1,
        }
    }
    at
}

/// All crate-internal paths in `module`, as absolute paths.
fn named(module: &Module, all: &[Token<'_>]) -> Vec<Module> {
    let mut found = Vec::new();
    for (at, pair) in all.windows(2).enumerate() {
        let [Token::Word(start @ ("crate" | "super" | "self")), Token::PathSeparator] = pair else {
            continue;
        };
        if at > 0 && matches!(all[at - 1], Token::PathSeparator | Token::Mark('$')) {
            continue;
        }
        let own: Module = match *start {
            "crate" => Vec::new(),
            "self" => module.clone(),
            _ => parent(module),
        };
        for path in expanded(all, at + 2) {
            let ups = path.iter().take_while(|name| **name == "super").count();
            let base = (0..ups).fold(own.clone(), |base, _| parent(&base));
            found.push(base.into_iter().chain(path[ups..].iter().map(|name| (*name).to_owned())).collect());
        }
    }
    found
}

fn parent(module: &Module) -> Module {
    module[..module.len().saturating_sub(1)].to_vec()
}

/// The paths of the (use) tree at `at`.
fn expanded<'a>(all: &[Token<'a>], at: usize) -> Vec<Vec<&'a str>> {
    match all.get(at) {
        Some(Token::Word(name)) => {
            let follows = all.get(at + 1) == Some(&Token::PathSeparator);
            let rest = if follows { expanded(all, at + 2) } else { Vec::new() };
            if rest.is_empty() {
                return vec![vec![*name]];
            }
            rest.into_iter().map(|path| [vec![*name], path].concat()).collect()
        }
        Some(Token::Mark('{')) => {
            let end = group_end(all, at);
            let mut paths = Vec::new();
            let mut next = at + 1;
            while next < end {
                paths.extend(expanded(all, next));
                while next < end && all[next] != Token::Mark(',') {
                    next = if all[next] == Token::Mark('{') { group_end(all, next) } else { next + 1 };
                }
                next += 1;
            }
            paths
        }
        _ => Vec::new(),
    }
}

/// For each strongly connected component: a shortest cycle, and the number of modules.
fn cycles(krate: &str, graph: &Graph) -> Vec<String> {
    let mut described: BTreeSet<&Module> = BTreeSet::new();
    let mut lines = Vec::new();
    for module in graph.keys() {
        if described.contains(module) {
            continue;
        }
        let Some(cycle) = cycle_through(graph, module) else { continue };
        let knot: Vec<&Module> = reachable(graph, module)
            .into_iter()
            .filter(|other| reachable(graph, other).contains(module))
            .collect();
        let shown: Vec<String> = cycle.iter().map(|module| module.join("::")).collect();
        lines.push(format!(
            "{krate}: modules import one another in a cycle: {} ({} modules in all); move what they share below them",
            shown.join(" → "),
            knot.len()
        ));
        described.extend(knot);
    }
    lines
}

fn reachable<'a>(graph: &'a Graph, from: &Module) -> BTreeSet<&'a Module> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&Module> = graph.get(from).into_iter().flatten().collect();
    while let Some(module) = open.pop() {
        if found.insert(module) {
            open.extend(graph.get(module).into_iter().flatten());
        }
    }
    found
}

/// The modules of a shortest path from `start` back to it, including both ends.
fn cycle_through<'a>(graph: &'a Graph, start: &'a Module) -> Option<Vec<&'a Module>> {
    let mut came_from: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(module) = open.pop_front() {
        for next in graph.get(module).into_iter().flatten() {
            if next == start {
                let mut way = vec![start, module];
                while let Some(before) =
                    way.last().filter(|last| **last != start).and_then(|last| came_from.get(last))
                {
                    way.push(before);
                }
                way.dedup();
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, module);
                open.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::problems;

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> =
            files.iter().map(|(name, text)| (format!("a/src/{name}.rs"), (*text).to_owned())).collect();
        problems(&files)
    }

    #[test]
    fn a_cycle_is_named_with_its_way() {
        let found = check(&[
            ("lib", "mod one; mod two; mod three;"),
            ("one", "use crate::two::Two;"),
            ("two", "fn f() { super::three::f() }"),
            ("three", "use super::one;"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("a: ") && found[0].contains("one → two → three → one (3 modules"),
            "{found:?}"
        );
    }

    #[test]
    fn two_knots_are_two_lines() {
        let found = check(&[
            ("a", "use crate::b;"),
            ("b", "use crate::{a, c};"),
            ("c", "use crate::d;"),
            ("d", "use crate::c;"),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn nested_use_trees_are_followed() {
        let tree = "use crate::{x, deep::{self, inner::{Thing, other as that}}, one::*};";
        let found = check(&[
            ("main", "mod deep; mod one; mod user;"),
            ("user", tree),
            ("deep", ""),
            ("deep/inner", "use crate::user;"),
            ("one", ""),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("deep::inner → user → deep::inner"), "{found:?}");
        let found = check(&[("user", tree), ("one", "use super::user::f;")]);
        assert_eq!(found.len(), 1, "a glob names its module: {found:?}");
    }

    #[test]
    fn supers_of_supers_and_self_are_resolved() {
        let found = check(&[
            ("a/b/c", "use super::super::d::f;"),
            ("a/d", "use super::b::c;"),
            ("a/b", "use self::c::x;"),
            ("a", ""),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("a::b::c → a::d → a::b::c (2 modules"), "{found:?}");
    }

    #[test]
    fn a_module_and_its_descendants_are_no_cycle() {
        assert!(check(&[("a", "mod b; use self::b::f;"), ("a/b", "use super::g; use crate::a;")]).is_empty());
    }

    #[test]
    fn test_code_does_not_count() {
        let user = "use crate::b;";
        for test in [
            "#[cfg(test)]\nmod tests { use crate::a; fn f() { } }\nfn after() {}",
            "#[cfg(all(test, unix))] #[expect(x, reason = \"y\")] use crate::a::{b, c};",
            "#[cfg(test)]\nfn f(x: [u8; 2]) -> u8 { crate::a::g(x) }",
        ] {
            assert!(check(&[("a", user), ("b", test)]).is_empty(), "{test}");
        }
        assert!(
            check(&[("a", user), ("b", "#[cfg(test)] mod inner;"), ("b/inner", "use crate::a;")]).is_empty()
        );
        assert!(check(&[("a", user), ("b", ""), ("b_tests", "use crate::a;")]).is_empty());
        let after = "#[cfg(test)] mod inner; #[cfg(not(test))] use crate::a;";
        assert_eq!(check(&[("a", user), ("b", after)]).len(), 1, "what follows an item for tests counts");
    }

    #[test]
    fn comments_and_strings_name_nothing() {
        let text = "// use crate::a;\n/* /* crate::a */ crate::a */\nconst X: &str = \"\\\"crate::a\"; const Y: &str = r#\"\" crate::a\"#;\n\
                    fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' }\n/// [`crate::a`]\nfn g() {}";
        assert!(check(&[("a", "use crate::b;"), ("b", text)]).is_empty());
        assert_eq!(check(&[("a", "use crate::b;"), ("b", &format!("{text}\nuse crate::a;"))]).len(), 1);
    }

    #[test]
    fn crates_and_their_programs_are_apart() {
        let files = [
            ("a/src/x.rs", "use crate::y;"),
            ("b/src/y.rs", "use crate::x;"),
            ("a/src/bin/y.rs", "use crate::x;"),
        ];
        let files: Vec<_> = files.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        assert!(problems(&files).is_empty());
    }
}
