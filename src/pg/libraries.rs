//! The shared libraries that this process has loaded.

use std::ffi::{CStr, c_int, c_void};

/// The number of times that a library was loaded. If it is unchanged, no library was added.
pub fn loads() -> u64 {
    let mut loads = 0;
    each(|library| {
        loads = library.dlpi_adds;
        false
    });
    loads
}

/// The file names of the loaded libraries.
pub fn names() -> Vec<String> {
    let mut names = Vec::new();
    any(|name| {
        names.push(name.to_owned());
        false
    });
    names
}

/// True if `wanted` returns true for the file name of a loaded library.
pub fn any(mut wanted: impl FnMut(&str) -> bool) -> bool {
    let mut found = false;
    each(|library| {
        if !library.dlpi_name.is_null() {
            // SAFETY: a terminated path, which is valid while its library is visited.
            let path = unsafe { CStr::from_ptr(library.dlpi_name) }.to_string_lossy();
            found = wanted(path.rsplit('/').next().unwrap_or_default());
        }
        !found
    });
    found
}

/// Visits the loaded libraries while `visit` returns true.
fn each<F: FnMut(&libc::dl_phdr_info) -> bool>(mut visit: F) {
    unsafe extern "C" fn step<F: FnMut(&libc::dl_phdr_info) -> bool>(
        library: *mut libc::dl_phdr_info,
        _size: usize,
        visit: *mut c_void,
    ) -> c_int {
        // SAFETY: invoked by dl_iterate_phdr below, with the argument that it received.
        let (library, visit) = unsafe { (&*library, &mut *visit.cast::<F>()) };
        c_int::from(!visit(library))
    }
    // SAFETY: `visit` outlives the call, and does not panic.
    unsafe { libc::dl_iterate_phdr(Some(step::<F>), (&raw mut visit).cast()) };
}

/// The address of a symbol that a loaded library exports.
pub fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a look-up by name.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}
