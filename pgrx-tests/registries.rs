use crate::{interface, processor};
use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use super::*;

    #[pg_test]
    fn names_are_unique() {
        let processors: Vec<&str> = processor::ALL.iter().map(|processor| processor.name()).collect();
        let names: Vec<&str> = interface::ALL.iter().map(|interface| interface.name()).collect();
        for list in [processors, names] {
            assert!(
                list.iter().all(|name| list.iter().filter(|other| *other == name).count() == 1),
                "{list:?}"
            );
        }
    }

    #[pg_test]
    fn entries_are_found_by_name() {
        assert!(processor::ALL.iter().all(|one| processor::find(one.name()).is_some()));
        assert!(interface::ALL.iter().all(|one| interface::find(one.name()).is_some()));
        assert!(processor::find("pigeon").is_none());
    }
}
