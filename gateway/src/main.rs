//! The `casement` program: arguments → command → exit code.

fn main() -> std::process::ExitCode {
    casement::cli::main()
}
