//! Groups of waiting tasks: those of a type whose rows say the same.

/// What the row of a task says, in the words of `queues.explain` where it has them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Unadopted,
    Scheduled,
    Deferred,
    Follows,
    KeyPaused,
    /// Another task of its queue key comes first.
    KeyBehind,
    /// Ready, of a queue key.
    KeyReady,
    Ready,
}

impl Class {
    const COUNT: usize = 8;

    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Unadopted => "unadopted",
            Class::Scheduled => "scheduled",
            Class::Deferred => "deferred",
            Class::Follows => "follows",
            Class::KeyPaused => "key_paused",
            Class::KeyBehind => "key_behind",
            Class::KeyReady => "key_ready",
            Class::Ready => "ready",
        }
    }
}

/// The order of tasks: by time and number.
pub type Place = (i64, i64);

/// The tasks of a type and a class.
#[derive(Clone, Copy)]
pub struct Group {
    pub class: Class,
    pub tasks: i64,
    pub oldest: Place,
    /// Another one.
    pub other: i64,
    /// The first time until which they wait, if the class says one.
    pub until: Option<i64>,
}

impl Group {
    pub const fn of_one(class: Class, task: Place, until: Option<i64>) -> Group {
        Group { class, tasks: 1, oldest: task, other: task.1, until }
    }
}

/// The groups of a type.
#[derive(Default)]
pub struct Groups([Option<Group>; Class::COUNT]);

impl Groups {
    pub fn add(&mut self, group: Group) {
        match &mut self.0[group.class as usize] {
            Some(sum) => {
                sum.tasks += group.tasks;
                sum.oldest = sum.oldest.min(group.oldest);
                sum.other = group.other;
                sum.until = sum.until.min(group.until);
            }
            none => *none = Some(group),
        }
    }

    pub fn into_iter(self) -> impl Iterator<Item = Group> {
        self.0.into_iter().flatten()
    }
}
