use crate::processor;
use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use super::*;

    #[pg_test]
    fn names_are_unique() {
        let processors: Vec<&str> = processor::ALL.iter().map(|processor| processor.name()).collect();
        let is_unique = |name: &&str| processors.iter().filter(|other| other == &name).count() == 1;
        assert!(processors.iter().all(is_unique), "{processors:?}");
    }

    #[pg_test]
    fn entries_are_found_by_name() {
        assert!(processor::ALL.iter().all(|one| processor::find(one.name()).is_some()));
        assert!(processor::find("pigeon").is_none());
    }
}
