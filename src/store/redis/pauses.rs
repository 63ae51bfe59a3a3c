//! The nodes that did not respond a moment ago, and are not called until one call has probed them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Node;

pub(super) struct Pauses {
    length: Duration,
    /// The time of the next probe of each node that does not respond. `None` is the only server.
    until: Mutex<HashMap<Option<Node>, Instant>>,
}

impl Pauses {
    /// `length` is that of a pause.
    pub(super) fn new(length: Duration) -> Self {
        Self { length, until: Mutex::default() }
    }

    /// Returns whether to call the node now. When a pause is over, the first caller starts the next pause and probes.
    pub(super) fn may_call(&self, node: Option<&Node>) -> bool {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        match until.get_mut(&node.cloned()) {
            None => true,
            Some(end) if Instant::now() < *end => false,
            Some(end) => {
                *end = Instant::now() + self.length;
                true
            }
        }
    }

    /// Begins a pause. Returns whether it is the only one.
    pub(super) fn begin(&self, node: Option<Node>) -> bool {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget_old(&mut until);
        let is_first = until.is_empty();
        until.insert(node, Instant::now() + self.length);
        is_first
    }

    /// Ends the pauses of a node that responds. Returns whether this ended the last one.
    pub(super) fn end(&self, node: Option<Node>) -> bool {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let was_paused = until.remove(&node).is_some();
        self.forget_old(&mut until);
        was_paused && until.is_empty()
    }

    /// A node that nobody has called since its pause may never come back: another one has its keys.
    fn forget_old(&self, until: &mut HashMap<Option<Node>, Instant>) {
        let now = Instant::now();
        until.retain(|_, end| now < *end + self.length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_one_node_leaves_the_others_alone() {
        let pauses = Pauses::new(Duration::from_secs(60));
        let [one, two, three] = [1, 2, 3].map(|port| ("127.0.0.1".to_owned(), port));
        assert!(pauses.begin(Some(one.clone())) && !pauses.begin(Some(two.clone())));
        assert!(!pauses.may_call(Some(&one)) && !pauses.may_call(Some(&two)) && pauses.may_call(Some(&three)));
        assert!(!pauses.end(Some(one.clone())) && pauses.end(Some(two)));
        assert!(pauses.may_call(Some(&one)));
    }

    #[test]
    fn a_node_that_never_comes_back_is_forgotten() {
        let pauses = Pauses::new(Duration::from_secs(60));
        pauses.begin(Some(("127.0.0.1".to_owned(), 1)));
        pauses.until.lock().unwrap().values_mut().for_each(|end| *end -= Duration::from_secs(121));
        assert!(pauses.begin(None) && pauses.end(None));
    }

    #[test]
    fn when_a_pause_is_over_one_call_probes() {
        let pauses = Pauses::new(Duration::from_secs(5));
        pauses.begin(None);
        assert!(!pauses.may_call(None));
        pauses.until.lock().unwrap().insert(None, Instant::now());
        assert_eq!((0..50).filter(|_| pauses.may_call(None)).count(), 1);
    }
}
