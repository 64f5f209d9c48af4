//! A list with stable numbers and reuse. Knows nothing of what it holds.

/// Values by number; a freed number is given out again.
pub struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Slab<T> {
    /// An empty one.
    pub fn new() -> Self {
        Self { entries: vec![], free: vec![] }
    }

    /// The number the next [`Slab::insert`] will give.
    pub fn next(&self) -> usize {
        self.free.last().copied().unwrap_or(self.entries.len())
    }

    /// Adds a value.
    pub fn insert(&mut self, value: T) -> usize {
        match self.free.pop() {
            Some(i) => {
                self.entries[i] = Some(value);
                i
            }
            None => {
                self.entries.push(Some(value));
                self.entries.len() - 1
            }
        }
    }

    /// The value of a number.
    pub fn get_mut(&mut self, i: usize) -> Option<&mut T> {
        self.entries.get_mut(i)?.as_mut()
    }

    /// Takes a value out.
    pub fn remove(&mut self, i: usize) -> Option<T> {
        let value = self.entries.get_mut(i)?.take()?;
        self.free.push(i);
        Some(value)
    }

    /// All values with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.entries.iter().enumerate().filter_map(|(i, e)| e.as_ref().map(|e| (i, e)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}
