//! Exploration: every state that can be reached, or seeded walks where there are too many.
//!
//! States are told apart by 64 bits of hash. Breadth first, so that what is found wrong comes with a
//! shortest way to it. A state from which no state of rest can be reached is wrong too: whatever has
//! happened, the system must be able to come to rest. Does not know what is modelled.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Something that is in one of many states and goes from one to others.
pub trait Model {
    /// All that matters for what comes next.
    type State: Clone + Hash;
    /// A step of one party.
    type Action: Copy + Debug;

    /// Where it begins.
    fn initial(&self) -> Vec<Self::State>;
    /// What can happen next.
    fn actions(&self, state: &Self::State) -> Vec<Self::Action>;
    /// Lets it happen.
    fn next(&self, state: &Self::State, action: Self::Action) -> Self::State;
    /// What must never be.
    fn wrong(&self, state: &Self::State) -> Option<String>;
    /// Whether everything has been delivered and proven.
    fn is_at_rest(&self, state: &Self::State) -> bool;
}

/// What an exploration has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Of them, states of rest.
    pub at_rest: usize,
    /// Whether there were no others.
    pub is_complete: bool,
}

/// How something wrong came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterexample {
    /// What is wrong.
    pub what: String,
    /// The steps.
    pub steps: Vec<String>,
}

/// Folded multiplication, two words at a time: good enough to tell states apart, and several times
/// as fast as the hasher of the standard library.
#[derive(Default)]
struct Folding(u64);

const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for Folding {
    fn finish(&self) -> u64 {
        fold(self.0, FACTOR)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (place, byte) in word.iter_mut().zip(chunk) {
                *place = *byte;
            }
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = fold(self.0 ^ value.wrapping_add(FACTOR), 0xD6E8_FEB8_6659_FD93).rotate_left(23);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
const fn fold(left: u64, right: u64) -> u64 {
    let product = left as u128 * right as u128;
    (product as u64) ^ ((product >> 64) as u64)
}

fn hash(state: &impl Hash) -> u64 {
    let mut hasher = Folding::default();
    state.hash(&mut hasher);
    hasher.finish()
}

/// States by number, each with the step that led to it first.
struct Atlas<A> {
    numbers: HashMap<u64, u32, BuildHasherDefault<Folding>>,
    parents: Vec<Option<(u32, A)>>,
    edges: Vec<(u32, u32)>,
    rests: Vec<u32>,
}

impl<A: Copy + Debug> Atlas<A> {
    fn new() -> Self {
        Self {
            numbers: HashMap::default(),
            parents: Vec::new(),
            edges: Vec::new(),
            rests: Vec::new(),
        }
    }

    /// The state's number, and whether it is new.
    fn number(&mut self, hash: u64, parent: Option<(u32, A)>) -> (u32, bool) {
        let next = u32::try_from(self.parents.len()).expect("fewer states than fit into memory");
        let number = *self.numbers.entry(hash).or_insert(next);
        if number == next {
            self.parents.push(parent);
        }
        (number, number == next)
    }

    fn counterexample(&self, what: String, mut number: u32) -> Counterexample {
        let mut steps = Vec::new();
        while let Some((parent, action)) = self.parents[number as usize] {
            steps.push(format!("{action:?}"));
            number = parent;
        }
        steps.reverse();
        Counterexample { what, steps }
    }

    /// A state from which no state of rest can be reached.
    fn restless(&self) -> Option<u32> {
        let count = self.parents.len();
        let mut starts = vec![0_u32; count + 1];
        for (_, to) in &self.edges {
            starts[*to as usize + 1] += 1;
        }
        for place in 0..count {
            starts[place + 1] += starts[place];
        }
        let mut fill = starts.clone();
        let mut sources = vec![0_u32; self.edges.len()];
        for (from, to) in &self.edges {
            let place = &mut fill[*to as usize];
            sources[*place as usize] = *from;
            *place += 1;
        }
        let mut can_rest = vec![false; count];
        let mut open = self.rests.clone();
        while let Some(number) = open.pop() {
            if std::mem::replace(&mut can_rest[number as usize], true) {
                continue;
            }
            let (from, to) = (starts[number as usize], starts[number as usize + 1]);
            open.extend(&sources[from as usize..to as usize]);
        }
        let place = can_rest.iter().position(|can| !can);
        place.and_then(|place| u32::try_from(place).ok())
    }
}

/// Visits every state that can be reached, `states_max` at most.
pub fn explore<M: Model>(model: &M, states_max: usize) -> Result<Explored, Counterexample> {
    let mut atlas = Atlas::new();
    let mut open = VecDeque::new();
    let mut is_complete = true;
    for state in model.initial() {
        let (number, is_new) = atlas.number(hash(&state), None);
        if is_new {
            open.push_back((number, state));
        }
    }
    while let Some((number, state)) = open.pop_front() {
        if let Some(what) = model.wrong(&state) {
            return Err(atlas.counterexample(what, number));
        }
        if model.is_at_rest(&state) {
            atlas.rests.push(number);
        }
        for action in model.actions(&state) {
            let next = model.next(&state, action);
            let (next_number, is_new) = atlas.number(hash(&next), Some((number, action)));
            atlas.edges.push((number, next_number));
            if is_new && atlas.parents.len() > states_max {
                is_complete = false;
            } else if is_new {
                open.push_back((next_number, next));
            }
        }
        if !is_complete {
            break;
        }
    }
    if let Some(number) = atlas.restless().filter(|_| is_complete) {
        let what = "it cannot come to rest any more".to_owned();
        return Err(atlas.counterexample(what, number));
    }
    Ok(Explored {
        states: atlas.parents.len(),
        at_rest: atlas.rests.len(),
        is_complete,
    })
}

/// One walk of at most `steps_max` steps, every choice by the seed. Tells how many it took.
pub fn walk<M: Model>(model: &M, seed: u64, steps_max: usize) -> Result<usize, Counterexample> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut initial = model.initial();
    let place = rng.random_range(0..initial.len());
    let mut state = initial.swap_remove(place);
    let mut steps = Vec::new();
    loop {
        if let Some(what) = model.wrong(&state) {
            let steps = steps.iter().map(|step| format!("{step:?}")).collect();
            return Err(Counterexample { what, steps });
        }
        let actions = model.actions(&state);
        if actions.is_empty() || steps.len() == steps_max {
            return Ok(steps.len());
        }
        let action = actions[rng.random_range(0..actions.len())];
        state = model.next(&state, action);
        steps.push(action);
    }
}
