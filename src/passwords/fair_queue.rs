//! A bounded queue that serves flows in turn, one job each.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A queue with a FIFO for each flow that has waiting jobs. [`FairQueue::pop`] serves the flows round robin.
///
/// A flow that queues a thousand jobs delays a job of another flow by one job, not by a thousand.
pub(super) struct FairQueue<K, T> {
    flows: HashMap<K, VecDeque<T>>,
    /// The flows that have waiting jobs. The first one is served next.
    order: VecDeque<K>,
    waiting: usize,
    capacity: usize,
}

/// The job that a full queue refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused<T>(pub T);

impl<K: Clone + Eq + Hash, T> FairQueue<K, T> {
    /// Returns an empty queue for at most `capacity` jobs of all flows together.
    pub fn new(capacity: usize) -> Self {
        Self { flows: HashMap::new(), order: VecDeque::new(), waiting: 0, capacity }
    }

    /// The number of waiting jobs of all flows.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Returns how many waiting jobs are served before a new job of `flow`, at most.
    ///
    /// These are the waiting jobs of `flow`, and as many of each other flow as it can be served meanwhile.
    pub fn jobs_before(&self, flow: &K) -> usize {
        let own = self.flows.get(flow).map_or(0, VecDeque::len);
        let others = self.flows.iter().filter(|(other, _)| *other != flow);
        own + others.map(|(_, jobs)| jobs.len().min(own + 1)).sum::<usize>()
    }

    /// Queues a job behind the other jobs of its flow.
    ///
    /// # Errors
    /// The queue is full, and one job is refused: the newest job of the longest flow if that flow is longer than this
    /// one would be, otherwise the new job.
    pub fn push(&mut self, flow: K, job: T) -> Result<(), Refused<T>> {
        let evicted = if self.waiting < self.capacity {
            None
        } else {
            match self.make_room(&flow) {
                None => return Err(Refused(job)),
                evicted => evicted,
            }
        };
        let jobs = self.flows.entry(flow.clone()).or_default();
        if jobs.is_empty() {
            self.order.push_back(flow);
        }
        jobs.push_back(job);
        self.waiting += 1;
        evicted.map_or(Ok(()), |evicted| Err(Refused(evicted)))
    }

    /// Takes the next job of the flow whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let flow = self.order.pop_front()?;
        let jobs = self.flows.get_mut(&flow)?;
        let job = jobs.pop_front();
        self.waiting -= 1;
        if jobs.is_empty() {
            self.flows.remove(&flow);
        } else {
            self.order.push_back(flow);
        }
        job
    }

    /// Takes the newest job of the longest flow, if that flow then is at least as long as `newcomer` becomes.
    fn make_room(&mut self, newcomer: &K) -> Option<T> {
        let becomes = self.flows.get(newcomer).map_or(0, VecDeque::len) + 1;
        let longest = self.order.iter().max_by_key(|flow| self.flows[*flow].len())?.clone();
        let jobs = self.flows.get_mut(&longest)?;
        if jobs.len() <= becomes {
            return None;
        }
        self.waiting -= 1;
        // At least one older job stays, so the flow keeps its place in the order.
        jobs.pop_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut FairQueue<char, usize>) -> Vec<usize> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn one_flow_is_served_in_its_own_order() {
        let mut queue = FairQueue::new(10);
        for job in 0..5 {
            queue.push('a', job).unwrap();
        }
        assert_eq!(queue.len(), 5);
        assert_eq!(drain(&mut queue), [0, 1, 2, 3, 4]);
        assert_eq!((queue.len(), queue.flows.len(), queue.order.len()), (0, 0, 0));
    }

    #[test]
    fn flows_are_served_in_turn_however_long_they_are() {
        let mut queue = FairQueue::new(20);
        for job in 0..6 {
            queue.push('a', job).unwrap();
        }
        queue.push('b', 10).unwrap();
        queue.push('c', 20).unwrap();
        queue.push('c', 21).unwrap();
        assert_eq!(drain(&mut queue), [0, 10, 20, 1, 21, 2, 3, 4, 5]);
    }

    #[test]
    fn a_new_flow_waits_for_one_job_of_each_other_flow() {
        let mut queue = FairQueue::new(1000);
        for job in 0..500 {
            queue.push('a', job).unwrap();
        }
        assert_eq!(queue.jobs_before(&'b'), 1);
        assert_eq!(queue.jobs_before(&'a'), 500);
        queue.push('b', 0).unwrap();
        assert_eq!(queue.jobs_before(&'a'), 501);
        assert_eq!(queue.jobs_before(&'b'), 3, "one job of its own, two of the other flow");
    }

    #[test]
    fn a_full_queue_refuses_the_newest_job_of_the_longest_flow() {
        let mut queue = FairQueue::new(4);
        for job in 0..4 {
            queue.push('a', job).unwrap();
        }
        assert_eq!(queue.push('a', 4), Err(Refused(4)), "the longest flow gets no more");
        assert_eq!(
            queue.push('b', 10),
            Err(Refused(3)),
            "a shorter flow takes the place of the longest one's newest job"
        );
        assert_eq!(queue.push('b', 11), Err(Refused(2)));
        assert_eq!(queue.push('b', 12), Err(Refused(12)), "two flows of equal length keep what they have");
        assert_eq!(queue.len(), 4);
        assert_eq!(drain(&mut queue), [0, 10, 1, 11]);
    }

    /// Time is counted in evaluations: at each step both threads finish a job.
    #[test]
    fn a_flood_of_one_network_delays_another_by_at_most_three_evaluations() {
        const THREADS: usize = 2;
        let mut queue = FairQueue::new(1024);
        let mut waits = vec![];
        let mut victim_waits_since = None;
        for now in 0..2_000 {
            // The flood offers 50 times what the threads can do.
            for _ in 0..50 * THREADS {
                let _ = queue.push("flood", None);
            }
            if now % 7 == 0 && victim_waits_since.is_none() {
                assert_eq!(queue.push("victim", Some(now)).map_err(|Refused(job)| job).err().flatten(), None);
                victim_waits_since = Some(now);
            }
            for _ in 0..THREADS {
                if let Some(Some(since)) = queue.pop() {
                    waits.push(now - since);
                    victim_waits_since = None;
                }
            }
        }
        assert!(waits.len() > 200);
        assert!(waits.iter().all(|wait| *wait <= 3), "{waits:?}");
    }
}
