//! Which of a session's two peers woke it.
//!
//! A session is one task with two connections. One that had nothing to read when it was asked, and has
//! not rung since, is not asked again: most wake-ups are for the other one. Does not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

/// What a connection wakes: the task, which then knows that it was this one.
#[derive(Debug)]
struct Bell {
    /// Release and Acquire: what the connection has to say was there before it rang.
    rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

/// One of the two peers.
#[derive(Debug, Default)]
pub(super) struct Side {
    bell: Option<(Arc<Bell>, Waker)>,
    /// It had nothing when it was asked last.
    quiet: bool,
}

impl Side {
    /// Has the connection wake this task from now on. A session keeps its task: this makes the bell
    /// once.
    pub(super) fn wakes(&mut self, task: &Waker) {
        let bell = self.bell.as_ref();
        if bell.is_none_or(|(bell, _)| !bell.task.will_wake(task)) {
            let bell = Arc::new(Bell {
                rung: AtomicBool::new(false),
                task: task.clone(),
            });
            self.bell = Some((Arc::clone(&bell), Waker::from(bell)));
            self.quiet = false;
        }
    }

    /// What everything that is asked of the connection is asked with: the way in which it waits to
    /// write may be that in which it waits to read.
    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(self.bell.as_ref().map_or(Waker::noop(), |(_, waker)| waker))
    }

    /// Whether there may be something to read, so that it has to be asked.
    pub(super) fn may_have_something(&self) -> bool {
        let rung = |(bell, _): &(Arc<Bell>, Waker)| bell.rung.swap(false, Ordering::Acquire);
        self.bell.as_ref().is_some_and(rung) || !self.quiet
    }

    /// It was asked, and may have more.
    pub(super) const fn had_something(&mut self) {
        self.quiet = false;
    }

    /// It was asked and has nothing: it rings when it has.
    pub(super) const fn had_nothing(&mut self) {
        self.quiet = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A task that counts how often it was woken.
    #[derive(Debug, Default)]
    struct Task(std::sync::atomic::AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_side_that_had_nothing_is_asked_again_once_it_has_rung() {
        let task = Arc::new(Task::default());
        let [mut client, mut source] = [Side::default(), Side::default()];
        for side in [&mut client, &mut source] {
            side.wakes(&Waker::from(Arc::clone(&task)));
            assert!(side.may_have_something(), "nobody has asked it yet");
            side.had_nothing();
            assert!(!side.may_have_something());
        }
        client.context().waker().wake_by_ref();
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        assert!(client.may_have_something());
        assert!(!source.may_have_something());
        client.had_something();
        assert!(client.may_have_something(), "there may be more");
    }

    #[test]
    fn a_session_that_moves_to_another_task_asks_again() {
        let [first, second] = [Arc::new(Task::default()), Arc::new(Task::default())];
        let mut side = Side::default();
        side.wakes(&Waker::from(Arc::clone(&first)));
        side.had_nothing();
        side.wakes(&Waker::from(first));
        assert!(!side.may_have_something());
        side.wakes(&Waker::from(Arc::clone(&second)));
        assert!(side.may_have_something());
        side.context().waker().wake_by_ref();
        assert_eq!(second.0.load(Ordering::Relaxed), 1);
    }
}
