//! The options of `cargo test`, as far as a test with a `main` of its own must know them.

/// True when this test is to run: nothing is filtered, or it by name.
pub(crate) fn is_wanted(name: &str) -> bool {
    let mut arguments = std::env::args().skip(1);
    let (mut is_filtered, mut is_named) = (false, false);
    while let Some(argument) = arguments.next() {
        let (option, value) = argument.split_once('=').unwrap_or((&argument, ""));
        match option {
            "--list" => return false,
            "--skip" => {
                let skipped = if value.is_empty() { arguments.next() } else { Some(value.to_owned()) };
                if skipped.is_some_and(|skipped| name.contains(&skipped)) {
                    return false;
                }
            }
            "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" if value.is_empty() => {
                arguments.next();
            }
            _ if option.starts_with('-') => {}
            _ => {
                is_filtered = true;
                is_named |= name.contains(&argument);
            }
        }
    }
    is_named || !is_filtered
}
