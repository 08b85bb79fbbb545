compile_error!(
    "no board is chosen: build with --features and one of stamp-c3, nanoc6, core2, cores3, atom-echo, atoms3, or use firmware/tools/image BOARD"
);
