//! The structure that the imports draw: no circle of files, and none of folders.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree};

/// Crates, by the file with their root module.
const ROOTS: [&str; 6] = [
    "src/lib.rs",
    "crates/queue/src/lib.rs",
    "crates/calls/src/lib.rs",
    "crates/report/src/lib.rs",
    "crates/stats/src/lib.rs",
    "benches/main.rs",
];

/// A module's path within its crate; empty: the root.
type Module = Vec<String>;

/// Which file of a crate uses names of which other one.
#[derive(Default)]
struct Graph {
    files: BTreeMap<Module, PathBuf>,
    arrows: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

/// The paths that a file's code uses, each as it is written.
#[derive(Default)]
struct Paths {
    children: Vec<String>,
    uses: Vec<Vec<String>>,
    /// Names that a `use` brings in, with their paths.
    names: HashMap<String, Vec<String>>,
    mentioned: Vec<Vec<String>>,
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

impl Paths {
    fn note_use(&mut self, tree: &UseTree, mut path: Vec<String>) {
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.note_use(&part.tree, path);
            }
            UseTree::Group(group) => group.items.iter().for_each(|item| self.note_use(item, path.clone())),
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                if name != "self" {
                    path.push(name);
                }
                self.names.insert(path.last().cloned().unwrap_or_default(), path.clone());
                self.uses.push(path);
            }
            UseTree::Rename(rename) => {
                if rename.ident != "self" {
                    path.push(rename.ident.to_string());
                }
                self.names.insert(rename.rename.to_string(), path.clone());
                self.uses.push(path);
            }
            UseTree::Glob(_) => self.uses.push(path),
        }
    }

    /// Paths in a macro's arguments, which are not parsed.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 => path.push(ident.to_string()),
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                other => {
                    self.mentioned.push(std::mem::take(&mut path));
                    match other {
                        TokenTree::Ident(ident) => path.push(ident.to_string()),
                        TokenTree::Group(group) => self.note_tokens(group.stream()),
                        _ => {}
                    }
                }
            }
            colons = 0;
        }
        self.mentioned.push(path);
    }
}

impl<'a> Visit<'a> for Paths {
    fn visit_item(&mut self, item: &'a Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if item.content.is_none() {
            self.children.push(item.ident.to_string());
        }
        visit::visit_item_mod(self, item);
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        self.note_use(&item.tree, Vec::new());
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        self.mentioned.push(path.segments.iter().map(|part| part.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        self.note_tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}

impl Graph {
    fn of(root: &Path) -> Graph {
        let mut graph = Graph::default();
        let mut read = Vec::new();
        graph.read(root, Vec::new(), &mut read);
        for (module, paths) in &read {
            let from = graph.files[module].clone();
            for to in graph.targets(module, paths) {
                if to != from {
                    graph.arrows.entry(from.clone()).or_default().insert(to);
                }
            }
        }
        graph
    }

    /// Reads a module and those that it declares.
    fn read(&mut self, file: &Path, module: Module, read: &mut Vec<(Module, Paths)>) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut paths = Paths::default();
        paths.visit_file(
            &syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())),
        );
        let name = file.file_stem().unwrap().to_str().unwrap();
        let folder = match name {
            "lib" | "main" | "mod" => file.parent().unwrap().to_owned(),
            name => file.with_file_name(name),
        };
        for child in &paths.children {
            let candidates = [folder.join(format!("{child}.rs")), folder.join(child).join("mod.rs")];
            if let Some(found) = candidates.iter().find(|path| path.exists()) {
                self.read(found, [module.clone(), vec![child.clone()]].concat(), read);
            }
        }
        self.files.insert(module.clone(), file.to_owned());
        read.push((module, paths));
    }

    /// The files that a module's paths lead to.
    fn targets(&self, module: &Module, paths: &Paths) -> BTreeSet<PathBuf> {
        let all = paths.uses.iter().chain(&paths.mentioned);
        all.filter_map(|path| self.resolve(module, paths, path)).collect()
    }

    fn resolve(&self, module: &Module, paths: &Paths, path: &[String]) -> Option<PathBuf> {
        let (first, rest) = path.split_first()?;
        let (mut at, mut rest) = match first.as_str() {
            "crate" => (Vec::new(), rest),
            "self" => (module.clone(), rest),
            "super" => (module[..module.len().checked_sub(1)?].to_vec(), rest),
            name if paths.children.iter().any(|child| child == name) => (module.clone(), path),
            name => {
                let used =
                    paths.names.get(name).filter(|used| used.first() != path.first() || used.len() > 1)?;
                if used == path {
                    return None;
                }
                let whole = [used.as_slice(), rest].concat();
                return self.resolve(
                    module,
                    &Paths { children: paths.children.clone(), ..Paths::default() },
                    &whole,
                );
            }
        };
        while let Some((next, after)) = rest.split_first() {
            if next == "super" {
                at.pop()?;
            } else {
                at.push(next.clone());
                if !self.files.contains_key(&at) {
                    at.pop();
                    break;
                }
            }
            rest = after;
        }
        // A module that is named without anything in it is not yet used.
        (!rest.is_empty()).then(|| self.files[&at].clone())
    }
}

/// The sets of nodes that reach each other, each in order.
fn circles<T: Ord + Clone>(arrows: &BTreeMap<T, BTreeSet<T>>) -> BTreeSet<BTreeSet<T>> {
    let reached = |from: &T| {
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<&T> = arrows.get(from).into_iter().flatten().collect();
        while let Some(node) = waiting.pop() {
            if seen.insert(node.clone()) {
                waiting.extend(arrows.get(node).into_iter().flatten());
            }
        }
        seen
    };
    let all: BTreeMap<&T, BTreeSet<T>> = arrows.keys().map(|node| (node, reached(node))).collect();
    let circle = |node: &T| {
        let back = |other: &&T| all.get(*other).is_some_and(|seen| seen.contains(node));
        all[node].iter().filter(back).cloned().collect::<BTreeSet<T>>()
    };
    all.keys().map(|node| circle(node)).filter(|circle| !circle.is_empty()).collect()
}

/// What stands for a file in the picture of folders: the first folder below the crate's root, or the file.
fn room(root: &Path, file: &Path) -> PathBuf {
    let below = file.strip_prefix(root.parent().unwrap()).unwrap();
    PathBuf::from(below.components().next().unwrap().as_os_str()).with_extension("")
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn roots() -> impl Iterator<Item = PathBuf> {
    ROOTS.iter().map(|root| top().join(root))
}

fn short(path: &Path) -> String {
    path.strip_prefix(top()).unwrap_or(path).display().to_string()
}

fn shown(circles: &BTreeSet<BTreeSet<PathBuf>>, arrows: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> String {
    let line = |circle: &BTreeSet<PathBuf>| {
        let within = |from: &PathBuf| {
            let to: Vec<String> = arrows[from].intersection(circle).map(|to| short(to)).collect();
            format!("\n  {} -> {}", short(from), to.join(", "))
        };
        circle.iter().map(within).collect::<String>()
    };
    circles.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for root in roots() {
        let graph = Graph::of(&root);
        let found = circles(&graph.arrows);
        assert!(found.is_empty(), "circles of files in {}:{}", root.display(), shown(&found, &graph.arrows));
    }
}

#[test]
fn no_folders_import_each_other_in_a_circle() {
    for root in roots() {
        let mut rooms: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
        for (from, to) in Graph::of(&root).arrows {
            let from = room(&root, &from);
            let to = to.iter().map(|to| room(&root, to)).filter(|to| *to != from);
            rooms.entry(from.clone()).or_default().extend(to);
        }
        let found = circles(&rooms);
        assert!(found.is_empty(), "circles of folders in {}:{}", root.display(), shown(&found, &rooms));
    }
}

#[test]
fn a_circle_is_found_and_a_chain_is_none() {
    let arrows = |list: &[(&'static str, &'static str)]| {
        let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (from, to) in list {
            arrows.entry(from).or_default().insert(to);
        }
        arrows
    };
    assert!(circles(&arrows(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    let found = circles(&arrows(&[("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")]));
    assert_eq!(found, BTreeSet::from([BTreeSet::from(["b", "c"])]));
}
