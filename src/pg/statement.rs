//! Masks secrets in the texts of statements before other sessions can see them: in `pg_stat_activity`, in the server
//! log, and in modules that record statements.

use super::callbacks::{self, Ended};
use super::cleared_text;
use super::command::{Hook as Utility, standard_ProcessUtility};
pub use super::shown_text::Pieces;
use super::shown_text::{bytes, bytes_of, pieces_of, remember, stand_in, text_of_session};
use pgrx::pg_sys;
use std::ffi::CString;
use std::os::raw::c_char;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};

/// A rule that determines what is hidden, and how.
pub struct Rule {
    /// Returns true if a text may contain something to hide.
    pub concerns: fn(&[u8]) -> bool,
    /// Masks a statement without changing its length, and returns the hidden pieces.
    pub mask: fn(&mut [u8]) -> Pieces,
    /// [`Rule::mask`] for a part of a message.
    pub mask_message: fn(&mut [u8]) -> Pieces,
    /// Masks the hidden pieces of a statement wherever they are in a text; returns true if there is one.
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

/// Applies `rule` in all sessions. Called while the postmaster preloads libraries.
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

/// Runs when all libraries are loaded, so that the hooks that are installed now are called before theirs. It runs again
/// after a crash of the server.
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

/// True if a text may contain something to hide.
fn concerns(rule: &Rule, text: &[u8]) -> bool {
    !cleared_text::is_clear(text, |text| !(rule.concerns)(text))
}

/// Whether a backslash is an escape character in all literals (`standard_conforming_strings = off`).
static ESCAPES: AtomicBool = AtomicBool::new(false);

/// True if a backslash is an escape character in all literals of the current statement.
pub fn backslash_escapes() -> bool {
    ESCAPES.load(Relaxed)
}

/// Runs when a statement has been parsed: its literals have been copied, and nothing has recorded it yet.
unsafe extern "C-unwind" fn on_analysis(
    state: *mut pg_sys::ParseState,
    query: *mut pg_sys::Query,
    jumble: *mut pg_sys::JumbleState,
) {
    // SAFETY: calls the previous hook with the same arguments.
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
    // SAFETY: the text of the client's message is memory of this session that is not parsed again, since the parse
    // trees have copies of it. The texts of functions are not changed.
    unsafe {
        let text = (*state).p_sourcetext;
        let Some(rule) = rule() else { return };
        if text.is_null() || text != text_of_session() || !is_session() {
            return;
        }
        if !concerns(rule, bytes(text)) && !executes(query, rule) {
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

/// True for EXECUTE of a statement with something to hide.
unsafe fn executes(query: *mut pg_sys::Query, rule: &Rule) -> bool {
    // SAFETY: the tag determines the type of the node; the prepared statement lives while it is examined.
    unsafe {
        let node = (*query).utilityStmt;
        if node.is_null() || (*node).type_ != pg_sys::NodeTag::T_ExecuteStmt {
            return false;
        }
        let prepared = pg_sys::FetchPreparedStatement((*node.cast::<pg_sys::ExecuteStmt>()).name, false);
        !prepared.is_null() && (rule.concerns)(bytes((*(*prepared).plansource).query_string))
    }
}

/// Masks the copy of a Parse message's text that is made before the analysis (plancache.c, CreateCachedPlan), and that
/// later messages show. It is the identifier of a memory context below the current one.
unsafe fn hide_in_plan_sources(text: &[u8], rule: &Rule) {
    // SAFETY: a list of live contexts; the identifier is the copy, in one of them.
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

/// Shows another text for the running statement in `pg_stat_activity`.
fn show(text: *const c_char) {
    if is_session() {
        // SAFETY: a terminated text, copied into shared memory.
        unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text) }
    }
}

/// True in a client's session. In other processes, the text may be in any memory.
fn is_session() -> bool {
    // SAFETY: state of this process.
    unsafe {
        matches!(pg_sys::MyBackendType, pg_sys::BackendType::B_BACKEND | pg_sys::BackendType::B_WAL_SENDER)
    }
}

/// Commands in functions have texts of their own. The next hook receives a masked copy of such a text.
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
    // SAFETY: calls the next hook with the same arguments except for the text. An error passes through this frame, in
    // which nothing needs to be dropped; the copy is then not freed.
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

/// A masked copy of the text, which the caller frees; null if there is nothing to hide.
unsafe extern "C-unwind" fn hidden_copy(text: *const c_char) -> *mut c_char {
    // SAFETY: a terminated text; the copy belongs to this function until it returns.
    unsafe {
        let Some(rule) = rule().filter(|rule| concerns(rule, bytes(text))) else {
            return std::ptr::null_mut();
        };
        let copy = libc::strdup(text);
        (rule.mask)(bytes_of(copy));
        copy
    }
}

/// Runs when a message is about to be logged.
unsafe extern "C-unwind" fn on_log(entry: *mut pg_sys::ErrorData) {
    // SAFETY: calls the previous hook with the same argument.
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

/// Masks the texts of a message. It neither logs nor raises anything.
unsafe fn hide_in_entry(entry: &mut pg_sys::ErrorData, rule: &Rule) {
    // SAFETY: the texts belong to the entry, are terminated and were allocated for it; none becomes longer.
    unsafe {
        let text = pg_sys::debug_query_string;
        if text.is_null() {
            return;
        }
        let is_log = matches!(entry.elevel as u32, pg_sys::LOG | pg_sys::LOG_SERVER_ONLY);
        let around = [entry.detail, entry.detail_log, entry.context, entry.internalquery];
        let concerns = |text: *const c_char| concerns(rule, bytes(text));
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

/// Masks a statement in `pg_stat_activity` that could not be parsed and whose error was not logged. It allocates only
/// if a statement with a secret has failed, and raises nothing.
fn at_transaction_end(ended: Ended) {
    cleared_text::forget();
    if ended != Ended::Aborted || !is_session() {
        return;
    }
    // SAFETY: the text that is shown for this process, terminated; debug_query_string is null by now.
    let text = unsafe { pg_sys::pgstat_get_backend_current_activity(pg_sys::MyProcPid, false) };
    // SAFETY: a terminated text.
    let copy = unsafe { hidden_copy(text) };
    if !copy.is_null() {
        show(copy);
        // SAFETY: allocated by this module, and copied.
        unsafe { libc::free(copy.cast()) }
    }
}
