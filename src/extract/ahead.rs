//! Pages of a slice that are asked for before their turn: foreseen by the paginator, read in its order.
//!
//! ```text
//! page 1: 100 of 534 records   next offset=100, foreseen 200, 300, 400, 500
//!   asked for at once          100  200  300  400     (as many as there are places for)
//! page 2: 100 of 534 records   next offset=200: it is under way already; 500 is begun
//! page 3:  97 of 534 records   next offset=297, which was not foreseen
//!   thrown away                300  400  500          from here on one page after the other
//! ```
//!
//! What comes next is said by the page before it, as ever: a foreseen page is taken only where it
//! answers the very request that is due.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Either, select},
    stream::FuturesUnordered,
};
use tokio::sync::oneshot;

use super::{budget::Budget, paginate::Ask};

/// Bodies of one slice that may be under way or wait for their turn behind the one that is due. Of
/// pages of 770 KB these are five: eight made a run of a million records no faster, and took 20 MB more
/// at its peak.
const MOST_BYTES: usize = 4 << 20;

/// How many pages of all slices are asked for or wait for their turn.
///
/// Every slice has a place, so that none waits for another one. What `max_in_flight` leaves free goes
/// to pages ahead of their turn: there are never more pages in memory than if as many slices were read.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: AtomicUsize,
}

/// A page that may be asked for; dropping it makes room for another one.
#[derive(Debug)]
struct Place<'a>(&'a Places);

impl Places {
    /// So many, all of them free.
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: AtomicUsize::new(0) }
    }

    /// That of a slice, which has it even if none is free.
    fn of_slice(&self) -> Place<'_> {
        self.taken.fetch_add(1, Relaxed);
        Place(self)
    }

    /// One that no slice needs.
    fn spare(&self) -> Option<Place<'_>> {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, more).ok().map(|_| Place(self))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

/// The pages of one slice that are asked for before their turn.
pub(super) struct Ahead<'a, T> {
    places: &'a Places,
    budget: &'a Budget,
    /// Of the page whose turn it is.
    _own: Place<'a>,
    /// In the order of their turns.
    begun: VecDeque<Begun<'a, T>>,
    under_way: FuturesUnordered<BoxFuture<'a, ()>>,
    /// Of the largest body so far.
    largest: usize,
    /// Whether a page was not the one that was foreseen: where that is so once it is so again, and
    /// the server would be asked for more than it has.
    is_surprised: bool,
}

struct Begun<'a, T> {
    ask: Ask,
    page: oneshot::Receiver<T>,
    _place: Place<'a>,
}

impl<'a, T: Send + 'a> Ahead<'a, T> {
    /// Of a slice that begins.
    pub(super) fn new(places: &'a Places, budget: &'a Budget) -> Self {
        Self {
            places,
            budget,
            _own: places.of_slice(),
            begun: VecDeque::new(),
            under_way: FuturesUnordered::new(),
            largest: 0,
            is_surprised: false,
        }
    }

    /// How many pages are worth foreseeing, after one with a body of so many bytes.
    pub(super) fn most(&mut self, bytes: usize) -> usize {
        self.largest = self.largest.max(bytes);
        // The last requests of a budget are for pages that are sure to be needed.
        if self.is_surprised || !self.budget.has_more_than(self.places.most) {
            return 0;
        }
        (MOST_BYTES / self.largest.max(1)).min(self.places.most)
    }

    /// Gives the page that is due, once it has come, and begins those that are foreseen after it, while
    /// places are free.
    pub(super) async fn page<F>(
        &mut self,
        due: &Ask,
        foreseen: Vec<Ask>,
        begin: impl Fn(Ask) -> F,
    ) -> T
    where
        F: Future<Output = T> + Send + 'a,
    {
        if self.begun.front().is_some_and(|it| it.ask != *due) {
            self.is_surprised = true;
            self.forget();
        }
        // From now on it has the place of the slice.
        let page = self.begun.pop_front().map(|it| it.page);
        let is_known = self.begun.iter().zip(&foreseen).all(|(begun, ask)| begun.ask == *ask);
        let more = foreseen.into_iter().skip(self.begun.len());
        for ask in more.take_while(|_| is_known && !self.is_surprised) {
            let Some(place) = self.places.spare() else { break };
            let (sender, page) = oneshot::channel();
            let asked = begin(ask.clone()).map(|page| {
                // The slice may have ended, or gone another way.
                let _ = sender.send(page);
            });
            self.under_way.push(asked.boxed());
            self.begun.push_back(Begun { ask, page, _place: place });
        }
        if let Some(page) = page
            && let Ok(page) = self.meanwhile(page).await
        {
            return page;
        }
        self.meanwhile(begin(due.clone())).await
    }

    /// Goes on with the pages under way while something else is waited for: a request that nobody looks
    /// after runs into its time limit, and keeps its place among those in flight.
    pub(super) async fn meanwhile<O>(&mut self, other: impl Future<Output = O>) -> O {
        let mut other = pin!(other);
        while !self.under_way.is_empty() {
            match select(other, self.under_way.next()).await {
                Either::Left((done, _)) => return done,
                Either::Right((_, rest)) => other = rest,
            }
        }
        other.await
    }

    /// Throws away what was begun; requests under way are broken off.
    pub(super) fn forget(&mut self) {
        self.begun.clear();
        self.under_way.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap, time::Duration};

    use serde_json::Value;

    use super::*;
    use crate::plan::{Limits, Place as Part, Placement};

    fn budget(max_requests: Option<u64>) -> Budget {
        let limits = Limits {
            requests_per_second: 1.0,
            max_in_flight: 1,
            timeout: Duration::from_secs(1),
            max_response_bytes: 1,
            max_requests,
            deadline: None,
            rate_headers: None,
            is_shared: false,
        };
        Budget::new(&limits, Duration::ZERO)
    }

    fn ask(offset: u64) -> Ask {
        let param = Placement { place: Part::Query, name: "offset".to_owned() };
        Ask { params: vec![(param, Value::from(offset))], url: None }
    }

    fn asks(offsets: &[u64]) -> Vec<Ask> {
        offsets.iter().map(|it| ask(*it)).collect()
    }

    /// A server that answers a request with its offset, when it is told to.
    #[derive(Default)]
    struct Server {
        asked: RefCell<Vec<u64>>,
        open: RefCell<BTreeMap<u64, oneshot::Sender<u64>>>,
    }

    impl Server {
        fn begin(&self, ask: &Ask) -> impl Future<Output = u64> + Send + use<> {
            let offset = ask.params[0].1.as_u64().unwrap();
            let (sender, receiver) = oneshot::channel();
            self.asked.borrow_mut().push(offset);
            self.open.borrow_mut().insert(offset, sender);
            async move { receiver.await.unwrap() }
        }

        fn answer(&self, offsets: &[u64]) {
            for it in offsets {
                self.open.borrow_mut().remove(it).unwrap().send(*it).unwrap();
            }
        }

        /// Requests that still wait for their answer.
        fn open(&self) -> Vec<u64> {
            let open = self.open.borrow();
            open.iter().filter(|(_, it)| !it.is_closed()).map(|(offset, _)| *offset).collect()
        }
    }

    /// The page that is due, where it is answered after those that were begun.
    async fn page(ahead: &mut Ahead<'_, u64>, server: &Server, due: u64, foreseen: &[u64]) -> u64 {
        let due_ask = ask(due);
        let page = ahead.page(&due_ask, asks(foreseen), |it| server.begin(&it));
        let answer = async {
            tokio::task::yield_now().await;
            if server.open().contains(&due) {
                server.answer(&[due]);
            }
        };
        tokio::join!(page, answer).0
    }

    #[tokio::test]
    async fn pages_are_given_in_their_order_whatever_comes_first() {
        let (places, budget, server) = (Places::new(4), budget(None), Server::default());
        let mut ahead = Ahead::new(&places, &budget);

        assert_eq!(page(&mut ahead, &server, 0, &[]).await, 0);
        assert_eq!(page(&mut ahead, &server, 10, &[20, 30, 40, 50]).await, 10);
        // The slice has one place, and three are left.
        assert_eq!(server.open(), [20, 30, 40]);
        server.answer(&[40, 30]);
        assert_eq!(page(&mut ahead, &server, 20, &[30, 40, 50]).await, 20);
        assert_eq!(server.open(), [50]);
        assert_eq!(page(&mut ahead, &server, 30, &[40, 50]).await, 30);
        assert_eq!(page(&mut ahead, &server, 40, &[50]).await, 40);
        assert_eq!(page(&mut ahead, &server, 50, &[]).await, 50);

        let mut asked = server.asked.into_inner();
        asked.sort_unstable();
        assert_eq!(asked, [0, 10, 20, 30, 40, 50], "each one once");
        drop(ahead);
        assert_eq!(places.taken.into_inner(), 0);
    }

    #[tokio::test]
    async fn slices_that_begin_take_the_places_of_pages_ahead() {
        let (places, budget, server) = (Places::new(3), budget(None), Server::default());
        let mut ahead = Ahead::new(&places, &budget);
        page(&mut ahead, &server, 10, &[20, 30, 40]).await;
        assert_eq!(server.open(), [20, 30]);

        let others: Vec<Ahead<'_, u64>> = (0..3).map(|_| Ahead::new(&places, &budget)).collect();
        page(&mut ahead, &server, 20, &[30, 40, 50]).await;
        page(&mut ahead, &server, 30, &[40, 50]).await;
        assert_eq!(server.open(), [0; 0], "no place is free");

        drop(others);
        page(&mut ahead, &server, 40, &[50, 60, 70]).await;
        assert_eq!(server.open(), [50, 60]);
    }

    #[tokio::test]
    async fn a_page_that_was_not_foreseen_breaks_off_what_is_under_way_for_good() {
        let (places, budget, server) = (Places::new(4), budget(None), Server::default());
        let mut ahead = Ahead::new(&places, &budget);
        assert!(ahead.most(1_000) > 0);
        page(&mut ahead, &server, 10, &[20, 30, 40]).await;
        server.answer(&[30]);

        assert_eq!(page(&mut ahead, &server, 19, &[29, 39]).await, 19);

        assert_eq!(server.open(), [0; 0]);
        assert_eq!(*server.asked.borrow(), [20, 30, 40, 10, 19], "19 was asked for by itself");
        assert_eq!(places.taken.load(Relaxed), 1, "that of the slice");
        assert_eq!(ahead.most(1_000), 0);
    }

    #[tokio::test]
    async fn what_is_forgotten_is_asked_again_and_foreseen_again() {
        let (places, budget, server) = (Places::new(4), budget(None), Server::default());
        let mut ahead = Ahead::new(&places, &budget);
        page(&mut ahead, &server, 10, &[20, 30]).await;
        ahead.forget();
        assert_eq!(server.open(), [0; 0]);

        assert_eq!(page(&mut ahead, &server, 20, &[30]).await, 20);
        assert_eq!(server.open(), [30]);
    }

    #[tokio::test]
    async fn a_total_that_went_down_leaves_what_is_begun_and_begins_no_more() {
        let (places, budget, server) = (Places::new(8), budget(None), Server::default());
        let mut ahead = Ahead::new(&places, &budget);
        page(&mut ahead, &server, 10, &[20, 30, 40]).await;

        assert_eq!(page(&mut ahead, &server, 20, &[30]).await, 20);

        assert_eq!(server.open(), [30, 40]);
        assert!(ahead.most(1) > 0);
    }

    #[tokio::test]
    async fn pages_under_way_go_on_while_the_slice_is_busy() {
        let (places, budget, server) = (Places::new(4), budget(None), Server::default());
        let mut ahead = Ahead::new(&places, &budget);
        page(&mut ahead, &server, 10, &[20, 30]).await;

        server.answer(&[20, 30]);
        let busy = async {
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
        };
        ahead.meanwhile(busy).await;

        assert!(ahead.under_way.is_empty(), "both have come");
        assert_eq!(page(&mut ahead, &server, 20, &[30]).await, 20);
    }

    #[tokio::test]
    async fn less_is_foreseen_of_large_pages_and_nothing_at_the_end_of_a_budget() {
        let (places, free) = (Places::new(8), budget(None));
        for (bytes, expected) in
            [(0, 8), (1 << 19, 8), (770_000, 5), (1 << 20, 4), (4 << 20, 1), (5 << 20, 0)]
        {
            let mut ahead: Ahead<'_, ()> = Ahead::new(&places, &free);
            assert_eq!(ahead.most(bytes), expected, "{bytes} bytes");
            assert_eq!(ahead.most(0), expected, "the largest page counts");
        }

        let few = budget(Some(10));
        let mut ahead: Ahead<'_, ()> = Ahead::new(&places, &few);
        assert_eq!(ahead.most(1), 8);
        few.take().unwrap();
        assert_eq!(ahead.most(1), 8);
        few.take().unwrap();
        assert_eq!(ahead.most(1), 0);
    }
}
