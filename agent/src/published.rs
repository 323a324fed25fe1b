//! A value that one stage publishes and others read between packets, without waiting for each other.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// The newest value; clones share it.
#[derive(Debug)]
pub struct Published<T>(Arc<ArcSwap<T>>);

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Published<T> {
    /// Begins with a value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// Replaces the value.
    pub fn publish(&self, value: T) {
        self.0.store(Arc::new(value));
    }

    /// Makes the next value of the newest; asked again when somebody else published meanwhile.
    pub fn update(&self, next: impl Fn(&T) -> T) {
        self.0.rcu(|newest| next(newest));
    }

    /// The newest value.
    pub fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Puts the newest value in `held` and gives whether it is another one.
    pub fn refresh(&self, held: &mut Arc<T>) -> bool {
        let newest = self.0.load();
        let changed = !Arc::ptr_eq(&newest, held);
        if changed {
            *held = Arc::clone(&newest);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_the_newest_value_once() {
        let published = Published::new(1);
        let mut held = published.load();
        assert!(!published.refresh(&mut held));
        published.clone().publish(2);
        assert!(published.refresh(&mut held) && !published.refresh(&mut held));
        assert_eq!(*held, 2);
    }
}
