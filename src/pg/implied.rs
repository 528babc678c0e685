//! Conditions that follow from others: PostgreSQL's planner cannot tell that a row whose status is computed can only have some
//! status if a column has some value, so it would compute the status of each row of the table.
//!
//! A view says this in its condition by a function that is always true, whose support function is [`simplify`]. The
//! planner replaces the function by what follows from the other conditions of the query.

use super::entry::Call;
use pgrx::pg_sys::NodeTag::*;
use pgrx::{FromDatum, pg_sys};

type Node = *mut pg_sys::Node;

/// The status of tasks that have not ended.
const UNFINISHED: [&str; 3] = ["scheduled", "ready", RUNNING];
const RUNNING: &str = "running";

/// The arguments of the function: the columns `finished_at` and `final_status`, and what is true of each task that has ended,
/// of each other one, and of each running one.
struct Arguments {
    finished_at: Node,
    final_status: Node,
    finished: Node,
    unfinished: Node,
    running: Node,
}

/// What a condition says about the status.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    Unfinished,
    Running,
    /// `final_status` meets this comparison, too: an operator or `= any`, its constant on this side.
    Final(Node, Node),
}

/// The support function: the condition that follows for the task, or null for requests of other types.
pub fn simplify(call: &Call) -> pg_sys::Datum {
    let nothing = pg_sys::Datum::null();
    let Some(request) = call.argument(0) else { return nothing };
    let request = request.cast_mut_ptr::<pg_sys::SupportRequestSimplify>();
    // SAFETY: the planner gives a node, whose tag determines its type; the trees that it points to are valid.
    unsafe {
        if (*request).type_ != T_SupportRequestSimplify || (*request).root.is_null() {
            return nothing;
        }
        let query = (*(*request).root).parse;
        let Some(arguments) = Arguments::of((*request).fcall) else { return nothing };
        if query.is_null() || (*query).jointree.is_null() {
            return nothing;
        }
        let mut said = Vec::new();
        let table = (*arguments.finished_at.cast::<pg_sys::Var>()).varno;
        // In the result of an outer join, columns may be null whose rows do not meet a condition.
        if is_certain((*query).jointree.cast(), table) {
            arguments.read_from((*request).root, (*query).jointree.cast(), &mut said);
        }
        pg_sys::Datum::from(arguments.conjunction(&said))
    }
}

impl Arguments {
    unsafe fn of(call: *mut pg_sys::FuncExpr) -> Option<Arguments> {
        // SAFETY: a valid call.
        unsafe {
            let [finished_at, final_status, finished, unfinished, running] = *elements((*call).args) else {
                return None;
            };
            ((*finished_at).type_ == T_Var && (*final_status).type_ == T_Var).then_some(Arguments {
                finished_at,
                final_status,
                finished,
                unfinished,
                running,
            })
        }
    }

    /// Reads the conditions that every row of the result meets: those of WHERE, and of views that became part of it. Those of
    /// JOIN are left out.
    unsafe fn read_from(&self, root: *mut pg_sys::PlannerInfo, node: Node, said: &mut Vec<Says>) {
        // SAFETY: the jointree of a query.
        unsafe {
            if !node.is_null() && (*node).type_ == T_FromExpr {
                let from = node.cast::<pg_sys::FromExpr>();
                self.read(root, (*from).quals, said);
                elements((*from).fromlist).iter().for_each(|item| self.read_from(root, *item, said));
            }
        }
    }

    unsafe fn read(&self, root: *mut pg_sys::PlannerInfo, condition: Node, said: &mut Vec<Says>) {
        // SAFETY: a condition before or after preprocessing; the tag determines the type of each node.
        unsafe {
            if condition.is_null() {
                return;
            }
            match (*condition).type_ {
                T_List => elements(condition.cast()).iter().for_each(|part| self.read(root, *part, said)),
                T_BoolExpr => {
                    let and = condition.cast::<pg_sys::BoolExpr>();
                    if (*and).boolop == pg_sys::BoolExprType::AND_EXPR {
                        elements((*and).args).iter().for_each(|part| self.read(root, *part, said));
                    }
                }
                T_NullTest => {
                    let test = condition.cast::<pg_sys::NullTest>();
                    let is_null = (*test).nulltesttype == pg_sys::NullTestType::IS_NULL;
                    if is_null && is_equal((*test).arg.cast(), self.finished_at) {
                        said.push(Says::Unfinished);
                    }
                }
                T_OpExpr => {
                    let comparison = condition.cast::<pg_sys::OpExpr>();
                    if let [left, right] = *elements((*comparison).args)
                        && is_equality((*comparison).opno, (*comparison).inputcollid)
                    {
                        let sides = [(left, right), (right, left)];
                        let value = sides.into_iter().find(|(status, _)| self.is_status(*status));
                        said.extend(value.and_then(|(_, value)| self.says(root, condition, value)));
                    }
                }
                T_ScalarArrayOpExpr => {
                    let comparison = condition.cast::<pg_sys::ScalarArrayOpExpr>();
                    if let [status, values] = *elements((*comparison).args)
                        && is_equality((*comparison).opno, (*comparison).inputcollid)
                        && (*comparison).useOr
                        && self.is_status(status)
                    {
                        said.extend(self.says(root, condition, values));
                    }
                }
                _ => {}
            }
        }
    }

    /// True for `case when finished_at is not null then final_status …`.
    unsafe fn is_status(&self, node: Node) -> bool {
        // SAFETY: an expression.
        unsafe {
            if node.is_null() || (*node).type_ != T_CaseExpr {
                return false;
            }
            let case = node.cast::<pg_sys::CaseExpr>();
            let Some(first) = elements((*case).args).into_iter().next().filter(|_| (*case).arg.is_null())
            else {
                return false;
            };
            let first = first.cast::<pg_sys::CaseWhen>();
            let test = (*first).expr.cast::<pg_sys::NullTest>();
            (*(*first).expr).type_ == T_NullTest
                && (*test).nulltesttype == pg_sys::NullTestType::IS_NOT_NULL
                && is_equal((*test).arg.cast(), self.finished_at)
                && is_equal((*first).result.cast(), self.final_status)
        }
    }

    /// What the comparison of the status with a value says, if the value is known.
    unsafe fn says(&self, root: *mut pg_sys::PlannerInfo, comparison: Node, value: Node) -> Option<Says> {
        // SAFETY: an expression of the query, which is copied.
        unsafe {
            let value = pg_sys::eval_const_expressions(root, pg_sys::copyObjectImpl(value.cast()).cast());
            if value.is_null() || (*value).type_ != T_Const {
                return None;
            }
            let constant = value.cast::<pg_sys::Const>();
            let (datum, is_null) = ((*constant).constvalue, (*constant).constisnull);
            let values: Vec<Option<String>> = match (*constant).consttype {
                pg_sys::TEXTOID => vec![String::from_datum(datum, is_null)],
                pg_sys::TEXTARRAYOID => Vec::from_datum(datum, is_null)?,
                _ => return None,
            };
            let are_all =
                |known: &[&str]| values.iter().flatten().all(|value| known.contains(&value.as_str()));
            let is_none_unfinished =
                || !values.iter().flatten().any(|value| UNFINISHED.contains(&value.as_str()));
            match () {
                () if are_all(&[RUNNING]) => Some(Says::Running),
                () if are_all(&UNFINISHED) => Some(Says::Unfinished),
                () if is_none_unfinished() => Some(Says::Final(comparison, value)),
                () => None,
            }
        }
    }

    /// The conjunction of what follows.
    unsafe fn conjunction(&self, said: &[Says]) -> Node {
        // SAFETY: nodes of the query, and copies of them.
        unsafe {
            let mut parts: Vec<Node> = Vec::new();
            if said.contains(&Says::Running) {
                parts.push(self.running);
            } else if said.contains(&Says::Unfinished) {
                parts.push(self.unfinished);
            }
            if said.iter().any(|says| matches!(says, Says::Final(..))) {
                parts.push(self.finished);
            }
            parts.extend(said.iter().filter_map(|says| match says {
                Says::Final(comparison, value) => Some(self.of_final_status(*comparison, *value)),
                _ => None,
            }));
            match *parts {
                [] => pg_sys::makeBoolConst(true, false),
                [only] => only,
                _ => pg_sys::make_andclause(list(&parts)).cast(),
            }
        }
    }

    /// The comparison with `final_status` in place of the status.
    unsafe fn of_final_status(&self, comparison: Node, value: Node) -> Node {
        // SAFETY: an OpExpr or a ScalarArrayOpExpr, which is copied.
        unsafe {
            let copy: Node = pg_sys::copyObjectImpl(comparison.cast()).cast();
            let column = pg_sys::copyObjectImpl(self.final_status.cast()).cast();
            let arguments = list(&[column, value]);
            match (*copy).type_ {
                T_OpExpr => (*copy.cast::<pg_sys::OpExpr>()).args = arguments,
                _ => (*copy.cast::<pg_sys::ScalarArrayOpExpr>()).args = arguments,
            }
            copy
        }
    }
}

/// True for the comparison of two texts by their bytes.
fn is_equality(operator: pg_sys::Oid, collation: pg_sys::Oid) -> bool {
    operator.to_u32() == pg_sys::TextEqualOperator && collation == pg_sys::DEFAULT_COLLATION_OID
}

/// True if each row of a query's result has a row of this table: it is not on the other side of an outer join.
unsafe fn is_certain(node: Node, table: i32) -> bool {
    // SAFETY: the jointree of a query.
    unsafe {
        match (*node).type_ {
            T_RangeTblRef => (*node.cast::<pg_sys::RangeTblRef>()).rtindex == table,
            T_FromExpr => {
                let from = node.cast::<pg_sys::FromExpr>();
                elements((*from).fromlist).iter().any(|item| is_certain(*item, table))
            }
            T_JoinExpr => {
                let join = node.cast::<pg_sys::JoinExpr>();
                let is_inner = (*join).jointype == pg_sys::JoinType::JOIN_INNER;
                let is_left = (*join).jointype == pg_sys::JoinType::JOIN_LEFT;
                (is_inner || is_left) && is_certain((*join).larg, table)
                    || is_inner && is_certain((*join).rarg, table)
            }
            _ => false,
        }
    }
}

unsafe fn is_equal(one: Node, other: Node) -> bool {
    // SAFETY: expressions.
    unsafe { pg_sys::equal(one.cast(), other.cast()) }
}

unsafe fn elements(list: *mut pg_sys::List) -> Vec<Node> {
    // SAFETY: a list of nodes, or null, which is an empty list.
    unsafe {
        let length = if list.is_null() { 0 } else { (*list).length };
        (0..length).map(|place| pg_sys::list_nth(list, place).cast()).collect()
    }
}

unsafe fn list(nodes: &[Node]) -> *mut pg_sys::List {
    // SAFETY: appends to a list of nodes; null is an empty list.
    unsafe { nodes.iter().fold(std::ptr::null_mut(), |list, node| pg_sys::lappend(list, node.cast())) }
}
