//! The text of the statement that a session runs, as others can see it: in `pg_stat_activity`, in the server log, and
//! in modules that record statements. Secrets are masked before the text gets there.

use super::callbacks::{self, Ended};
use super::command::{Hook as Utility, standard_ProcessUtility};
use pgrx::pg_sys;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};

/// What was hidden of a statement, to be hidden in messages about it, too.
pub type Pieces = Vec<Vec<u8>>;

/// What is hidden, and how.
pub struct Rule {
    /// Whether there is something to hide in a text.
    pub concerns: fn(&[u8]) -> bool,
    /// Hides it, without a change of the length; returns what was there.
    pub mask: fn(&mut [u8]) -> Pieces,
    /// [`Rule::mask`] of a part of a message.
    pub mask_message: fn(&mut [u8]) -> Pieces,
    /// Hides pieces of a statement wherever they are in a text; true if any is.
    pub mask_pieces: fn(&mut [u8], &Pieces) -> bool,
}

static RULE: AtomicPtr<Rule> = AtomicPtr::new(std::ptr::null_mut());
static NEXT_ANALYSIS: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
static NEXT_LOG: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
static NEXT_START: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
static NEXT_UTILITY: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
static INSTALLED: AtomicBool = AtomicBool::new(false);

type Analysis =
    unsafe extern "C-unwind" fn(*mut pg_sys::ParseState, *mut pg_sys::Query, *mut pg_sys::JumbleState);
type LogHook = unsafe extern "C-unwind" fn(*mut pg_sys::ErrorData);
type Start = unsafe extern "C-unwind" fn();

/// Statements of which is known what was hidden; a prepared one may run again.
const REMEMBERED: usize = 8;

/// A statement as it is shown, and what was hidden of it.
struct Hidden {
    shown: Vec<u8>,
    pieces: Pieces,
}

/// The text that stands for that of the running statement in the log, and where its own is.
struct Stand {
    shown: CString,
    text: *const c_char,
}

thread_local! {
    static HIDDEN: RefCell<VecDeque<Hidden>> = const { RefCell::new(VecDeque::new()) };
    static STAND: RefCell<Option<Stand>> = const { RefCell::new(None) };
}

/// Applies `rule` in all sessions from now on. To be called while the postmaster preloads libraries.
pub fn hide(rule: &'static Rule) {
    RULE.store(std::ptr::from_ref(rule).cast_mut(), Relaxed);
    // SAFETY: the postmaster's only thread; the hook that was there is kept.
    unsafe {
        if let Some(next) = pg_sys::shmem_startup_hook {
            NEXT_START.store(next as *mut (), Relaxed);
        }
        pg_sys::shmem_startup_hook = Some(on_start);
    }
    callbacks::on_transaction_end(at_transaction_end);
}

/// All libraries are loaded: hooks that are put in now are called before theirs. A crash of the server brings it here
/// again.
unsafe extern "C-unwind" fn on_start() {
    // SAFETY: the postmaster's only thread; the hooks that were there are kept.
    unsafe {
        let next = NEXT_START.load(Relaxed);
        if !next.is_null() {
            std::mem::transmute::<*mut (), Start>(next)();
        }
        if INSTALLED.swap(true, Relaxed) {
            return;
        }
        let next = |hook: Option<*mut ()>| hook.unwrap_or(std::ptr::null_mut());
        NEXT_ANALYSIS.store(next(pg_sys::post_parse_analyze_hook.map(|hook| hook as *mut ())), Relaxed);
        pg_sys::post_parse_analyze_hook = Some(on_analysis);
        NEXT_UTILITY.store(next(pg_sys::ProcessUtility_hook.map(|hook| hook as *mut ())), Relaxed);
        pg_sys::ProcessUtility_hook = Some(on_utility);
        NEXT_LOG.store(next(pg_sys::emit_log_hook.map(|hook| hook as *mut ())), Relaxed);
        pg_sys::emit_log_hook = Some(on_log);
    }
}

fn rule() -> Option<&'static Rule> {
    // SAFETY: null, or a static; a plain setting of this process.
    unsafe {
        ESCAPES.store(!pg_sys::standard_conforming_strings, Relaxed);
        RULE.load(Relaxed).as_ref()
    }
}

/// Whether a backslash escapes in every literal (`standard_conforming_strings = off`).
static ESCAPES: AtomicBool = AtomicBool::new(false);

/// [`ESCAPES`], as of the statement at hand.
pub fn backslash_escapes() -> bool {
    ESCAPES.load(Relaxed)
}

/// The first `byte` in a text.
pub fn find_byte(byte: u8, text: &[u8]) -> Option<usize> {
    // SAFETY: reads at most as many bytes as there are.
    unsafe {
        let found = libc::memchr(text.as_ptr().cast(), i32::from(byte), text.len());
        (!found.is_null()).then(|| found.cast::<u8>().offset_from(text.as_ptr()) as usize)
    }
}

/// The bytes of a terminated text that belongs to PostgreSQL; none if it is null.
unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: on the caller's promise.
    if text.is_null() { &[] } else { unsafe { CStr::from_ptr(text) }.to_bytes() }
}

/// [`bytes`] that may be changed.
unsafe fn bytes_of<'a>(text: *mut c_char) -> &'a mut [u8] {
    if text.is_null() {
        return &mut [];
    }
    // SAFETY: on the caller's promise; allocated by PostgreSQL for one owner.
    unsafe { std::slice::from_raw_parts_mut(text.cast(), libc::strlen(text)) }
}

/// The statement that the session runs, as it came from the client.
fn text_of_session() -> *const c_char {
    // SAFETY: state of this process.
    let text = unsafe { pg_sys::debug_query_string };
    let original = |stand: &Stand| (stand.shown.as_ptr() == text).then_some(stand.text);
    STAND.with_borrow(|stand| stand.as_ref().and_then(original)).unwrap_or(text)
}

/// What was hidden of the statement that is shown as `shown`.
fn pieces_of(shown: &[u8]) -> Option<Pieces> {
    HIDDEN.with_borrow(|all| {
        all.iter().find(|hidden| hidden.shown == shown).map(|hidden| hidden.pieces.clone())
    })
}

/// Keeps what was hidden of a statement.
fn remember(shown: &[u8], pieces: Pieces) {
    let mut known = pieces_of(shown).unwrap_or_default();
    known.extend(pieces);
    known.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    known.dedup();
    HIDDEN.with_borrow_mut(|all| {
        all.retain(|hidden| hidden.shown != shown);
        all.truncate(REMEMBERED - 1);
        all.push_front(Hidden { shown: shown.to_vec(), pieces: known });
    });
}

/// Has the log show another text for the running statement.
fn stand_in(shown: CString, text: *const c_char) {
    STAND.with_borrow_mut(|stand| {
        let stand = stand.insert(Stand { shown, text });
        // SAFETY: the text lives until the next one takes its place.
        unsafe { pg_sys::debug_query_string = stand.shown.as_ptr() }
    });
}

/// A statement has been parsed; nothing of it is recorded yet, and its literals have been copied.
unsafe extern "C-unwind" fn on_analysis(
    state: *mut pg_sys::ParseState,
    query: *mut pg_sys::Query,
    jumble: *mut pg_sys::JumbleState,
) {
    // SAFETY: calls on with the same arguments, to the hook that was there.
    unsafe {
        hide_statement(state, query);
        let next = NEXT_ANALYSIS.load(Relaxed);
        if !next.is_null() {
            std::mem::transmute::<*mut (), Analysis>(next)(state, query, jumble);
        }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn hide_statement(state: *mut pg_sys::ParseState, query: *mut pg_sys::Query) {
    // SAFETY: the text of the client's message is memory of this session that is not parsed again: the parse trees
    // hold copies. Texts of functions are not changed.
    unsafe {
        let text = (*state).p_sourcetext;
        let Some(rule) = rule() else { return };
        if text.is_null() || text != text_of_session() || !is_session() {
            return;
        }
        if !(rule.concerns)(bytes(text)) && !executes(query, rule) {
            return;
        }
        hide_in_plan_sources(bytes(text), rule);
        let pieces = (rule.mask)(bytes_of(text.cast_mut()));
        pg_sys::debug_query_string = text;
        if !pieces.is_empty() {
            remember(bytes(text), pieces);
        }
        show(text);
    }
}

/// True for EXECUTE of a statement that the rule concerns.
unsafe fn executes(query: *mut pg_sys::Query, rule: &Rule) -> bool {
    // SAFETY: the tag tells the type of the node; the prepared statement lives while it is looked at.
    unsafe {
        let node = (*query).utilityStmt;
        if node.is_null() || (*node).type_ != pg_sys::NodeTag::T_ExecuteStmt {
            return false;
        }
        let prepared = pg_sys::FetchPreparedStatement((*node.cast::<pg_sys::ExecuteStmt>()).name, false);
        !prepared.is_null() && (rule.concerns)(bytes((*(*prepared).plansource).query_string))
    }
}

/// A Parse message has had its text copied before it is analyzed, as the identifier of a memory context below the
/// current one (plancache.c, CreateCachedPlan): what later messages show.
unsafe fn hide_in_plan_sources(text: &[u8], rule: &Rule) {
    // SAFETY: a list of contexts that live; the identifier is the copy, in one of them.
    unsafe {
        let mut context = (*pg_sys::CurrentMemoryContext).firstchild;
        while !context.is_null() {
            let is_it = bytes((*context).name) == b"CachedPlanSource" && bytes((*context).ident) == text;
            if is_it {
                (rule.mask)(bytes_of((*context).ident.cast_mut()));
            }
            context = (*context).nextchild;
        }
    }
}

/// Shows another text of the running statement to other sessions.
fn show(text: *const c_char) {
    if is_session() {
        // SAFETY: a terminated text, copied into shared memory.
        unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text) }
    }
}

/// True in a client's session; the text of another process may be of any kind of memory.
fn is_session() -> bool {
    // SAFETY: state of this process.
    unsafe {
        matches!(pg_sys::MyBackendType, pg_sys::BackendType::B_BACKEND | pg_sys::BackendType::B_WAL_SENDER)
    }
}

/// Commands within functions have texts of their own; the next hook gets a masked copy of such a text.
#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn on_utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: calls on with the same arguments but the text. An error passes through this frame, in which nothing
    // needs to be dropped; then the copy stays.
    unsafe {
        let copy = hidden_copy(text);
        let shown = if copy.is_null() { text } else { copy };
        let next = NEXT_UTILITY.load(Relaxed);
        let next: Utility = if next.is_null() {
            standard_ProcessUtility
        } else {
            std::mem::transmute::<*mut (), Utility>(next)
        };
        next(statement, shown, read_only_tree, context, params, environment, destination, completion);
        libc::free(copy.cast());
    }
}

/// The text without what is to be hidden, to be freed by the caller; null if it can be shown.
unsafe extern "C-unwind" fn hidden_copy(text: *const c_char) -> *mut c_char {
    // SAFETY: a terminated text; the copy is this function's until it returns.
    unsafe {
        let Some(rule) = rule().filter(|rule| (rule.concerns)(bytes(text))) else {
            return std::ptr::null_mut();
        };
        let copy = libc::strdup(text);
        (rule.mask)(bytes_of(copy));
        copy
    }
}

/// Something is about to be logged.
unsafe extern "C-unwind" fn on_log(entry: *mut pg_sys::ErrorData) {
    // SAFETY: calls on with the same argument, to the hook that was there.
    unsafe {
        if let Some(rule) = rule() {
            hide_in_entry(&mut *entry, rule);
        }
        let next = NEXT_LOG.load(Relaxed);
        if !next.is_null() {
            std::mem::transmute::<*mut (), LogHook>(next)(entry);
        }
    }
}

/// Neither logs nor raises anything.
unsafe fn hide_in_entry(entry: &mut pg_sys::ErrorData, rule: &Rule) {
    // SAFETY: the entry's texts are its own, terminated and allocated for it; none becomes longer.
    unsafe {
        let text = pg_sys::debug_query_string;
        if text.is_null() {
            return;
        }
        let is_log = matches!(entry.elevel as u32, pg_sys::LOG | pg_sys::LOG_SERVER_ONLY);
        let around = [entry.detail, entry.detail_log, entry.context, entry.internalquery];
        let concerns = |text: *const c_char| (rule.concerns)(bytes(text));
        let is_concerned = pieces_of(bytes(text)).is_some()
            || concerns(text)
            || is_log && concerns(entry.message)
            || around.iter().any(|field| concerns(*field));
        if !is_concerned {
            return;
        }
        let mut shown = bytes(text).to_vec();
        let pieces = (rule.mask)(&mut shown);
        if !pieces.is_empty() {
            remember(&shown, pieces);
        }
        let pieces = pieces_of(&shown).unwrap_or_default();
        if shown != bytes(text)
            && let Ok(shown) = CString::new(shown)
        {
            stand_in(shown, text_of_session());
            show(pg_sys::debug_query_string);
        }
        for field in around {
            (rule.mask_message)(bytes_of(field));
        }
        if is_log {
            (rule.mask_message)(bytes_of(entry.message));
        }
        for field in [entry.message, entry.hint].into_iter().chain(around) {
            (rule.mask_pieces)(bytes_of(field), &pieces);
        }
    }
}

/// Masks a statement in `pg_stat_activity` that could not be parsed and whose error was not logged. It allocates, but
/// only if a statement with a secret has failed; it raises nothing.
fn at_transaction_end(ended: Ended) {
    if ended != Ended::Aborted || !is_session() {
        return;
    }
    // SAFETY: what is shown of this process, terminated; debug_query_string is null by now.
    let text = unsafe { pg_sys::pgstat_get_backend_current_activity(pg_sys::MyProcPid, false) };
    // SAFETY: a terminated text.
    let copy = unsafe { hidden_copy(text) };
    if !copy.is_null() {
        show(copy);
        // SAFETY: allocated for us, and copied.
        unsafe { libc::free(copy.cast()) }
    }
}
