//! Searches all states of a model, for safety and progress at the same time.

use stateright::{Expectation, Model};
use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// A model in which every task should be able to come to its end.
pub trait Ends: Model {
    /// True if every task has come to its end.
    fn is_over(&self, state: &Self::State) -> bool;
    /// True for an action that may happen, but on which progress must not depend, for instance a crash.
    fn is_fault(&self, action: &Self::Action) -> bool;
}

/// The models on which the search can run.
pub trait Checked:
    Ends<State: Clone + Debug + Hash + Eq + Send + Sync, Action: Clone + Debug + PartialEq>
{
}
impl<M: Ends<State: Clone + Debug + Hash + Eq + Send + Sync, Action: Clone + Debug + PartialEq>> Checked
    for M
{
}

/// Fails unless every property holds in every state, each "sometimes" property is found, and the end can be reached
/// from every state without a further fault.
pub fn assert_holds<M: Checked>(name: &str, model: M) {
    let begin = Instant::now();
    let states = match violation(&model) {
        Ok(states) => states,
        Err((property, path)) => panic!("{name}: «{property}» does not hold:\n{}", path.join("\n")),
    };
    println!("{name}: {states} states, {} ms", begin.elapsed().as_millis());
}

/// Fails unless there is a counterexample.
pub fn assert_broken<M: Checked>(name: &str, model: M) {
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

/// The number of states, or the property that does not hold and a path to a state that violates it.
fn violation<M: Checked>(model: &M) -> Result<usize, (&'static str, Vec<String>)> {
    let graph = explore(model)?;
    match graph.dead_end() {
        Some(path) => Err(("everything can still come to its end", path)),
        None => Ok(graph.over.len()),
    }
}

/// All states, numbered in the order of a breadth-first search.
struct Graph<A> {
    over: Vec<bool>,
    /// The predecessors of each state by steps that are not faults.
    before: Vec<Vec<u32>>,
    /// The predecessor from which each state was first reached, and the action.
    reached: Vec<Option<(u32, A)>>,
}

/// Returns all states, or a property that does not hold and the shortest path to a state that violates it.
fn explore<M: Checked>(model: &M) -> Result<Graph<M::Action>, (&'static str, Vec<String>)> {
    let mut graph = Graph { over: Vec::new(), before: Vec::new(), reached: Vec::new() };
    let mut numbers = HashMap::new();
    let mut pending = VecDeque::new();
    let (always, mut never_seen): (Vec<_>, Vec<_>) =
        model.properties().into_iter().partition(|property| property.expectation == Expectation::Always);
    assert!(never_seen.iter().all(|property| property.expectation == Expectation::Sometimes));
    for state in model.init_states() {
        graph.number(model, &mut numbers, &mut pending, state, None);
    }
    while let Some((from, state)) = pending.pop_front() {
        if let Some(broken) = always.iter().find(|property| !(property.condition)(model, &state)) {
            return Err((broken.name, graph.path(from)));
        }
        never_seen.retain(|property| !(property.condition)(model, &state));
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
    match never_seen.first() {
        Some(property) => Err((property.name, Vec::new())),
        None => Ok(graph),
    }
}

impl<A: Clone + Debug> Graph<A> {
    /// The shortest path to a state from which the end cannot be reached without a further fault.
    ///
    /// Apart from states without a step, there may be endless cycles. The search therefore goes back from the final
    /// states, along all steps that are not faults.
    fn dead_end(&self) -> Option<Vec<String>> {
        let mut can_end = self.over.clone();
        let mut pending: Vec<usize> = (0..can_end.len()).filter(|index| can_end[*index]).collect();
        while let Some(index) = pending.pop() {
            for &before in &self.before[index] {
                if !std::mem::replace(&mut can_end[before as usize], true) {
                    pending.push(before as usize);
                }
            }
        }
        can_end.iter().position(|can| !can).map(|index| self.path(index))
    }

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

/// Identifies the state. A collision among a few million states is very unlikely.
pub fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}
