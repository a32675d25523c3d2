//! Usage to cost: a dated table of public prices, and the sum. A model that isn't in the table has no price.

mod table;

pub use table::{BadTable, Long, Price, Table};
