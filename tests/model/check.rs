//! The search: safety by stateright's checker, progress by a search of our own.

use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// A model in which everything should be able to come to its end.
pub trait Ends: Model {
    /// Everything has come to its end.
    fn is_over(&self, state: &Self::State) -> bool;
    /// Something that may happen, but that nobody may wait for: a crash, for instance.
    fn is_fault(&self, action: &Self::Action) -> bool;
}

/// What the search is run on.
pub trait Checked:
    Ends<State: Clone + Debug + Hash + Eq + Send + Sync, Action: Clone + Debug + PartialEq>
{
}
impl<M: Ends<State: Clone + Debug + Hash + Eq + Send + Sync, Action: Clone + Debug + PartialEq>> Checked
    for M
{
}

/// Fails unless every property holds in every state, each «sometimes» is found, and the end can be
/// reached from every state without a further fault.
pub fn assert_holds<M: Checked + Clone + Send + Sync + 'static>(name: &str, model: M) {
    let begin = Instant::now();
    let states = match violation(&model) {
        Ok(states) => states,
        Err((property, path)) => panic!("{name}: «{property}» does not hold:\n{}", path.join("\n")),
    };
    println!("{name}: {states} states, {} ms", begin.elapsed().as_millis());
}

/// Fails unless there is a counterexample.
pub fn assert_broken<M: Checked + Clone + Send + Sync + 'static>(name: &str, model: M) {
    match violation(&model) {
        Ok(states) => panic!("{name}: no counterexample in {states} states"),
        Err((property, path)) => {
            println!("{name}: «{property}» broken after {} steps", path.len());
            if std::env::var_os("SHOW_PATHS").is_some() {
                println!("    {}", path.join("\n    "));
            }
        }
    }
}

/// The property that does not hold, and the way there; or the number of states.
fn violation<M: Checked + Clone + Send + Sync + 'static>(
    model: &M,
) -> Result<usize, (&'static str, Vec<String>)> {
    let checker = model.clone().checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    for property in model.properties() {
        let found = checker.discovery(property.name);
        match (property.expectation, found) {
            (Expectation::Always, Some(path)) => {
                let actions = path.into_actions().into_iter();
                return Err((property.name, actions.map(|action| format!("{action:?}")).collect()));
            }
            (Expectation::Sometimes, None) => return Err((property.name, Vec::new())),
            _ => {}
        }
    }
    match dead_end(model) {
        Some(path) => Err(("everything can still come to its end", path)),
        None => Ok(checker.unique_state_count()),
    }
}

/// The shortest way to a state from which the end cannot be reached without a further fault.
///
/// A state without any step is not all that can be wrong: workers may also go round for ever. So
/// the search goes back from the ends, along all steps that are no faults.
fn dead_end<M: Checked>(model: &M) -> Option<Vec<String>> {
    let graph = explore(model);
    let mut can_end = graph.over.clone();
    let mut pending: Vec<usize> = (0..can_end.len()).filter(|index| can_end[*index]).collect();
    while let Some(index) = pending.pop() {
        for &before in &graph.before[index] {
            if !std::mem::replace(&mut can_end[before as usize], true) {
                pending.push(before as usize);
            }
        }
    }
    can_end.iter().position(|can| !can).map(|index| graph.path(index))
}

/// All states, numbered in the order of a breadth-first search.
struct Graph<A> {
    over: Vec<bool>,
    /// The states from which each one is reached without a fault.
    before: Vec<Vec<u32>>,
    /// From where each one was reached first, and how.
    reached: Vec<Option<(u32, A)>>,
}

fn explore<M: Checked>(model: &M) -> Graph<M::Action> {
    let mut graph = Graph { over: Vec::new(), before: Vec::new(), reached: Vec::new() };
    let mut numbers = HashMap::new();
    let mut pending = VecDeque::new();
    for state in model.init_states() {
        graph.number(model, &mut numbers, &mut pending, state, None);
    }
    while let Some((from, state)) = pending.pop_front() {
        let mut actions = Vec::new();
        model.actions(&state, &mut actions);
        for action in actions {
            let Some(next) = model.next_state(&state, action.clone()) else { continue };
            let fault = model.is_fault(&action);
            let to = graph.number(model, &mut numbers, &mut pending, next, Some((from, &action)));
            if !fault {
                graph.before[to].push(from as u32);
            }
        }
    }
    graph
}

impl<A: Clone + Debug> Graph<A> {
    fn number<M: Checked<Action = A>>(
        &mut self,
        model: &M,
        numbers: &mut HashMap<u64, usize>,
        pending: &mut VecDeque<(usize, M::State)>,
        state: M::State,
        from: Option<(usize, &A)>,
    ) -> usize {
        let fingerprint = fingerprint(&state);
        if let Some(&known) = numbers.get(&fingerprint) {
            return known;
        }
        let index = self.over.len();
        self.over.push(model.is_over(&state));
        self.before.push(Vec::new());
        self.reached.push(from.map(|(from, action)| (from as u32, action.clone())));
        numbers.insert(fingerprint, index);
        pending.push_back((index, state));
        index
    }

    fn path(&self, mut index: usize) -> Vec<String> {
        let mut path = Vec::new();
        while let Some((from, action)) = &self.reached[index] {
            path.push(format!("{action:?}"));
            index = *from as usize;
        }
        path.reverse();
        path
    }
}

/// Stands for the state: two of a few million states to have the same one is as good as impossible.
fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}
