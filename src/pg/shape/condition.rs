//! Predicates of partial indexes that consist of columns, IS NULL, `<>` with a word, AND, OR and NOT.

use pgrx::pg_sys::BoolExprType::{AND_EXPR, NOT_EXPR, OR_EXPR};
use pgrx::pg_sys::NodeTag::{T_BoolExpr, T_Const, T_NullTest, T_OpExpr, T_Var};
use pgrx::{FromDatum, pg_sys};

/// A condition on a row. Columns are attribute numbers.
#[derive(Debug, PartialEq)]
pub enum Condition {
    /// The value of a boolean column.
    Column(i16),
    IsNull(i16),
    IsNotNull(i16),
    /// A text column differs from this word of letters and underscores.
    Differs(i16, String),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    /// Another expression.
    Other,
}

/// What is known of a column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Null,
    NotNull,
    False,
    Nothing,
}

/// The result of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    Null,
    Unknown,
}

impl Condition {
    /// The predicate of an index, as the executor evaluates it; without a condition if the index is not partial.
    ///
    /// # Safety
    /// `list` is the result of `RelationGetIndexPredicate`.
    pub(super) unsafe fn of_index(list: *mut pg_sys::List) -> Condition {
        // SAFETY: a list of expressions.
        Condition::All(unsafe { of_list(list) })
    }

    /// The result for a row. Conditions are evaluated in the executor's order, which stops at the first one that decides:
    /// an unknown one before it may raise an error.
    pub fn truth(&self, known: &impl Fn(i16) -> Known) -> Truth {
        match self {
            Condition::Column(column) => match known(*column) {
                Known::Null => Truth::Null,
                Known::False => Truth::False,
                Known::NotNull | Known::Nothing => Truth::Unknown,
            },
            Condition::IsNull(column) => is_null(known(*column)),
            Condition::IsNotNull(column) => is_null(known(*column)).negated(),
            Condition::Differs(column, _) => match known(*column) {
                Known::Null => Truth::Null,
                _ => Truth::Unknown,
            },
            Condition::Not(condition) => condition.truth(known).negated(),
            Condition::All(conditions) => first_of(conditions, Truth::False, known).unwrap_or(Truth::True),
            Condition::Any(conditions) => first_of(conditions, Truth::True, known).unwrap_or(Truth::False),
            Condition::Other => Truth::Unknown,
        }
    }

    /// The condition as PostgreSQL writes it; `None` if it is empty or has parts that are not known, or columns whose names
    /// would be quoted.
    pub fn text(&self, name: &impl Fn(i16) -> Option<String>) -> Option<String> {
        match self {
            Condition::Column(column) => name(*column),
            Condition::IsNull(column) => Some(format!("({} IS NULL)", name(*column)?)),
            Condition::IsNotNull(column) => Some(format!("({} IS NOT NULL)", name(*column)?)),
            Condition::Differs(column, word) => Some(format!("({} <> '{word}'::text)", name(*column)?)),
            Condition::Not(condition) => Some(format!("(NOT {})", condition.text(name)?)),
            Condition::All(conditions) => joined(conditions, " AND ", name),
            Condition::Any(conditions) => joined(conditions, " OR ", name),
            Condition::Other => None,
        }
    }
}

impl Truth {
    fn negated(self) -> Truth {
        match self {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            Truth::Null | Truth::Unknown => self,
        }
    }
}

fn is_null(known: Known) -> Truth {
    match known {
        Known::Null => Truth::True,
        Known::NotNull | Known::False => Truth::False,
        Known::Nothing => Truth::Unknown,
    }
}

/// The result that decides an AND or OR: `decisive`, unknown, or null; `None` if all conditions have the other result.
fn first_of(conditions: &[Condition], decisive: Truth, known: &impl Fn(i16) -> Known) -> Option<Truth> {
    let mut result = None;
    for condition in conditions {
        let truth = condition.truth(known);
        if truth == decisive || truth == Truth::Unknown {
            return Some(truth);
        }
        if truth == Truth::Null {
            result = Some(truth);
        }
    }
    result
}

fn joined(conditions: &[Condition], with: &str, name: &impl Fn(i16) -> Option<String>) -> Option<String> {
    let texts: Vec<String> =
        conditions.iter().map(|condition| condition.text(name)).collect::<Option<_>>()?;
    match texts.len() {
        0 => None,
        1 => texts.into_iter().next(),
        _ => Some(format!("({})", texts.join(with))),
    }
}

/// # Safety
/// A list of expressions, or null.
unsafe fn of_list(list: *mut pg_sys::List) -> Vec<Condition> {
    // SAFETY: as the caller promises; a null list is empty.
    unsafe {
        let length = if list.is_null() { 0 } else { (*list).length };
        (0..length).map(|place| of_node(pg_sys::list_nth(list, place).cast())).collect()
    }
}

/// # Safety
/// An expression.
unsafe fn of_node(node: *mut pg_sys::Node) -> Condition {
    // SAFETY: the tag determines the type of each node.
    unsafe {
        match (*node).type_ {
            T_Var => column_of(node).map_or(Condition::Other, Condition::Column),
            T_NullTest => {
                let test = &*node.cast::<pg_sys::NullTest>();
                // IS NULL of a composite value tests its fields.
                match column_of(test.arg.cast()).filter(|_| !test.argisrow) {
                    Some(column) if test.nulltesttype == pg_sys::NullTestType::IS_NULL => {
                        Condition::IsNull(column)
                    }
                    Some(column) => Condition::IsNotNull(column),
                    None => Condition::Other,
                }
            }
            T_OpExpr => differs(&*node.cast()).unwrap_or(Condition::Other),
            T_BoolExpr => {
                let expression = &*node.cast::<pg_sys::BoolExpr>();
                let mut parts = of_list(expression.args);
                match expression.boolop {
                    AND_EXPR => Condition::All(parts),
                    OR_EXPR => Condition::Any(parts),
                    NOT_EXPR => parts.pop().map_or(Condition::Other, |part| Condition::Not(Box::new(part))),
                    _ => Condition::Other,
                }
            }
            _ => Condition::Other,
        }
    }
}

/// The condition that a text column differs from a word.
///
/// # Safety
/// An expression.
unsafe fn differs(expression: &pg_sys::OpExpr) -> Option<Condition> {
    // SAFETY: a function of two arguments has as many; the tags determine the types.
    unsafe {
        if expression.opfuncid != pg_sys::Oid::from(pg_sys::F_TEXTNE) {
            return None;
        }
        let column = column_of(pg_sys::list_nth(expression.args, 0).cast())?;
        let other = pg_sys::list_nth(expression.args, 1).cast::<pg_sys::Node>();
        let constant = ((*other).type_ == T_Const).then(|| &*other.cast::<pg_sys::Const>())?;
        let is_text = constant.consttype == pg_sys::TEXTOID;
        let word = String::from_datum(constant.constvalue, constant.constisnull || !is_text)?;
        let is_word = word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        is_word.then_some(Condition::Differs(column, word))
    }
}

/// The attribute number of an expression that is a column, and neither a system column nor the whole row.
///
/// # Safety
/// An expression.
unsafe fn column_of(node: *mut pg_sys::Node) -> Option<i16> {
    // SAFETY: the tag determines the type.
    unsafe {
        let var = ((*node).type_ == T_Var).then(|| &*node.cast::<pg_sys::Var>())?;
        (var.varattno > 0).then_some(var.varattno)
    }
}

#[cfg(test)]
mod tests {
    use super::{Condition, Known, Truth};
    use Condition::{All, Any, Column, Differs, IsNotNull, IsNull, Not, Other};

    const NULL: i16 = 1;
    const VALUE: i16 = 2;
    const FALSE: i16 = 3;
    const ANY: i16 = 4;

    fn truth(condition: &Condition) -> Truth {
        condition.truth(&|column| match column {
            NULL => Known::Null,
            VALUE => Known::NotNull,
            FALSE => Known::False,
            _ => Known::Nothing,
        })
    }

    #[test]
    fn a_condition_has_three_results_unless_it_is_unknown() {
        for (condition, expected) in [
            (IsNull(NULL), Truth::True),
            (IsNotNull(NULL), Truth::False),
            (IsNull(VALUE), Truth::False),
            (IsNotNull(FALSE), Truth::True),
            (IsNull(ANY), Truth::Unknown),
            (IsNotNull(ANY), Truth::Unknown),
            (Column(NULL), Truth::Null),
            (Column(FALSE), Truth::False),
            (Column(VALUE), Truth::Unknown),
            (Not(Box::new(Column(FALSE))), Truth::True),
            (Not(Box::new(Column(NULL))), Truth::Null),
            (Not(Box::new(Other)), Truth::Unknown),
            (Differs(NULL, "x".into()), Truth::Null),
            (Differs(VALUE, "x".into()), Truth::Unknown),
            (All(vec![]), Truth::True),
            (All(vec![IsNull(NULL), Not(Box::new(Column(FALSE)))]), Truth::True),
            (All(vec![Column(NULL), IsNull(NULL)]), Truth::Null),
            (All(vec![Column(NULL), Column(FALSE)]), Truth::False),
            (Any(vec![Column(FALSE), Column(NULL)]), Truth::Null),
            (Any(vec![Column(NULL), IsNull(NULL)]), Truth::True),
            (Any(vec![Column(FALSE), IsNotNull(NULL)]), Truth::False),
        ] {
            assert_eq!(truth(&condition), expected, "{condition:?}");
        }
    }

    #[test]
    fn an_unknown_condition_counts_unless_one_before_it_decides() {
        assert_eq!(truth(&All(vec![Other, Column(FALSE)])), Truth::Unknown);
        assert_eq!(truth(&All(vec![Column(FALSE), Other])), Truth::False);
        assert_eq!(truth(&All(vec![Column(NULL), Other])), Truth::Unknown);
        assert_eq!(truth(&Any(vec![Other, IsNull(NULL)])), Truth::Unknown);
        assert_eq!(truth(&Any(vec![IsNull(NULL), Other])), Truth::True);
    }

    #[test]
    fn conditions_are_written_as_postgresql_writes_them() {
        let name = |column| (column != ANY).then(|| format!("c{column}"));
        for (condition, expected) in [
            (All(vec![]), None),
            (All(vec![IsNotNull(1)]), Some("(c1 IS NOT NULL)")),
            (Differs(1, "x_y".into()), Some("(c1 <> 'x_y'::text)")),
            (
                All(vec![IsNull(1), Not(Box::new(Column(2))), Any(vec![Column(2), Column(3)])]),
                Some("((c1 IS NULL) AND (NOT c2) AND (c2 OR c3))"),
            ),
            (All(vec![IsNull(1), Other]), None),
            (All(vec![IsNull(1), IsNull(ANY)]), None),
        ] {
            assert_eq!(condition.text(&name).as_deref(), expected, "{condition:?}");
        }
    }
}
