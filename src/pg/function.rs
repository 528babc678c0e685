//! Calling a function `name(jsonb) returns jsonb` directly, as the fast path of the protocol does
//! (tcop/fastpath.c), instead of by a statement: that costs more than what a small function does.

use super::majors::since_16;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary as boundary;
use pgrx::{FromDatum, IntoDatum, pg_sys};

/// Schemas that a `search_path` may have for functions to be kept.
const MAX_PATH: usize = 16;

/// A function, as it was found along a `search_path`.
pub struct Function {
    oid: pg_sys::Oid,
    /// Lives in `memory`, and so does what the function keeps between calls.
    info: *mut pg_sys::FmgrInfo,
    memory: pg_sys::MemoryContext,
    path: [pg_sys::Oid; MAX_PATH],
}

/// What a function may keep between calls, in bytes.
const MAX_KEPT: usize = 256 * 1024;

/// The arguments of a call with one argument, as fmgr.h's LOCAL_FCINFO lays them out.
#[repr(C)]
struct Call {
    base: pg_sys::FunctionCallInfoBaseData,
    argument: pg_sys::NullableDatum,
}

impl Call {
    /// Of a function with this argument, or with none.
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

/// Calls a C function that needs to know nothing of how it was declared. Raises what it raises; `None` is null.
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
    /// The function of this name (quoted where needed), if it takes one jsonb, without defaults, and
    /// returns one jsonb. Whether it may be called is another question.
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

    /// True if functions are looked for along the same path. That this one has not changed is to be known
    /// otherwise, by a plan that calls it.
    pub fn is_on_path(&self) -> bool {
        path() == Some(self.path)
    }

    pub fn oid(&self) -> pg_sys::Oid {
        self.oid
    }

    pub fn may_be_called(&self) -> bool {
        may_execute(self.oid)
    }

    /// Calls it; `None` is null. The result lives as long as the current memory context.
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

    /// True if it keeps more between calls than is worth keeping (a result of an SQL function, for instance).
    pub fn is_large(&self) -> bool {
        // SAFETY: a context of ours.
        unsafe { pg_sys::MemoryContextMemAllocated(self.memory, true) > MAX_KEPT }
    }

    /// Forgets what is kept for it; not while it is called.
    pub fn free(self) {
        // SAFETY: a context of ours, freed once.
        unsafe { pg_sys::MemoryContextDelete(self.memory) }
    }
}

/// True for a plain function of one argument that returns one jsonb.
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

/// The schemas of the current `search_path`; `None` if they are too many.
fn path() -> Option<[pg_sys::Oid; MAX_PATH]> {
    let mut path = [pg_sys::InvalidOid; MAX_PATH];
    // SAFETY: writes at most as many.
    let count = unsafe { pg_sys::fetch_search_path_array(path.as_mut_ptr(), MAX_PATH as i32) };
    (count as usize <= MAX_PATH).then_some(path)
}
