//! Calls a function `name(jsonb) returns jsonb` directly, as the protocol's fast path does (tcop/fastpath.c). A
//! statement would cost more than a small function itself.

use super::majors::since_16;
use super::placeholder;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary as boundary;
use pgrx::{FromDatum, IntoDatum, pg_sys};

/// The maximum number of schemas in a `search_path` with which functions are kept.
const MAX_PATH: usize = 16;

/// A function, found along a `search_path`.
pub struct Function {
    oid: pg_sys::Oid,
    /// The call information. It lives in `memory`, as does what the function keeps between calls.
    info: *mut pg_sys::FmgrInfo,
    memory: pg_sys::MemoryContext,
    path: [pg_sys::Oid; MAX_PATH],
}

/// The maximum amount of memory that a function may keep between calls, in bytes.
const MAX_KEPT: usize = 256 * 1024;

/// The arguments of a call with one argument, laid out as by LOCAL_FCINFO in fmgr.h.
#[repr(C)]
struct Call {
    base: pg_sys::FunctionCallInfoBaseData,
    argument: pg_sys::NullableDatum,
}

impl Call {
    /// The arguments for this argument, or for none.
    fn new(info: *mut pg_sys::FmgrInfo, argument: Option<pg_sys::Datum>) -> Call {
        // SAFETY: plain data, for which zeros are valid.
        let mut call: Call = unsafe { std::mem::zeroed() };
        call.base.flinfo = info;
        call.base.nargs = i16::from(argument.is_some());
        call.argument.value = argument.unwrap_or(pg_sys::Datum::null());
        call
    }

    fn as_info(&mut self) -> pg_sys::FunctionCallInfo {
        (&raw mut *self).cast()
    }
}

/// Calls a C function that does not inspect its own declaration; `None` is null. An error of the function is raised.
pub(super) fn call_directly(
    function: pg_sys::PGFunction,
    argument: Option<pg_sys::Datum>,
) -> Option<pg_sys::Datum> {
    let function = function?;
    let mut call = Call::new(std::ptr::null_mut(), argument);
    let info = call.as_info();
    // SAFETY: as fmgr.c does it (DirectFunctionCall1Coll).
    let result = unsafe { boundary(|| function(info)) };
    (!call.base.isnull).then_some(result)
}

impl Function {
    /// The function with this name (quoted where needed), if it takes one jsonb, without defaults, and returns one
    /// jsonb. The privilege to call it is not checked.
    pub fn find(name: &str) -> Option<Function> {
        let signature = format!("{name}(pg_catalog.jsonb)");
        // SAFETY: to_regprocedure takes a text and returns an oid or null; a new context, in which the
        // function's call information is made.
        unsafe {
            let found = pgrx::direct_function_call_as_datum(
                pg_sys::to_regprocedure,
                &[signature.as_str().into_datum()],
            );
            let oid = pg_sys::Oid::from_datum(found?, false).filter(|oid| is_simple(*oid))?;
            // The executor reports such a function as it runs it, see `traces::note_function`.
            if placeholder::may_be_created_by(oid) {
                return None;
            }
            let path = path()?;
            let memory = pg_sys::AllocSetContextCreateInternal(
                pg_sys::TopMemoryContext,
                c"pg_errand handler".as_ptr(),
                pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
                pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
                pg_sys::ALLOCSET_SMALL_MAXSIZE as usize,
            );
            let info = pg_sys::MemoryContextAllocZero(memory, size_of::<pg_sys::FmgrInfo>()).cast();
            pg_sys::fmgr_info_cxt(oid, info, memory);
            Some(Function { oid, info, memory, path })
        }
    }

    /// True if functions are looked up along the same path as when this one was found. Whether the function itself has
    /// changed has to be determined by a plan that calls it.
    pub fn is_on_path(&self) -> bool {
        path() == Some(self.path)
    }

    pub fn oid(&self) -> pg_sys::Oid {
        self.oid
    }

    pub fn may_be_called(&self) -> bool {
        may_execute(self.oid)
    }

    /// Calls the function; `None` is null. The result lives as long as the current memory context.
    pub fn call(&self, argument: pg_sys::Datum) -> Option<pg_sys::Datum> {
        // SAFETY: within a transaction; as fastpath.c and SPI do it, with a snapshot of its own.
        unsafe {
            let mut call = Call::new(self.info, Some(argument));
            let fcinfo = call.as_info();
            pg_sys::CommandCounterIncrement();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            let mut usage: pg_sys::PgStat_FunctionCallUsage = std::mem::zeroed();
            pg_sys::pgstat_init_function_usage(fcinfo, &mut usage);
            let function = (*self.info).fn_addr?;
            let result = boundary(|| function(fcinfo));
            pg_sys::pgstat_end_function_usage(&mut usage, true);
            pg_sys::PopActiveSnapshot();
            pg_sys::CommandCounterIncrement();
            (!(*fcinfo).isnull).then_some(result)
        }
    }

    /// True if the function keeps too much memory between calls, such as the result of a SQL function.
    pub fn is_large(&self) -> bool {
        // SAFETY: a context of ours.
        unsafe { pg_sys::MemoryContextMemAllocated(self.memory, true) > MAX_KEPT }
    }

    /// Frees the function, which must not be running.
    pub fn free(self) {
        // SAFETY: a context of ours, freed once.
        unsafe { pg_sys::MemoryContextDelete(self.memory) }
    }
}

/// True for a plain function with one argument that returns one jsonb.
fn is_simple(oid: pg_sys::Oid) -> bool {
    // SAFETY: the row stays valid until it is released.
    unsafe {
        let tuple =
            pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::PROCOID as i32, pg_sys::Datum::from(oid));
        if tuple.is_null() {
            return false;
        }
        let row = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>();
        let simple = row.prokind == pg_sys::PROKIND_FUNCTION as std::os::raw::c_char
            && row.pronargs == 1
            && !row.proretset
            && row.prorettype == pg_sys::JSONBOID;
        pg_sys::ReleaseSysCache(tuple);
        simple
    }
}

fn may_execute(function: pg_sys::Oid) -> bool {
    // SAFETY: state of this process.
    let user = unsafe { pg_sys::GetUserId() };
    since_16::has_privilege_on_function(function, user, pg_sys::ACL_EXECUTE as _)
}

/// The schemas of the current `search_path`; `None` if there are too many.
fn path() -> Option<[pg_sys::Oid; MAX_PATH]> {
    let mut path = [pg_sys::InvalidOid; MAX_PATH];
    // SAFETY: writes at most as many.
    let count = unsafe { pg_sys::fetch_search_path_array(path.as_mut_ptr(), MAX_PATH as i32) };
    (count as usize <= MAX_PATH).then_some(path)
}
