//! What the WIT package's interfaces are in Rust, made by `wit-bindgen`; the worlds' exports are in `sink`.
#![allow(missing_docs, unreachable_pub, reason = "generated")]

wit_bindgen::generate!({
    inline: "
        package weir:guest;
        world capabilities {
            import weir:plugin/types@0.1.0;
            import weir:plugin/log@0.1.0;
            import weir:plugin/clock@0.1.0;
            import weir:plugin/random@0.1.0;
            import weir:plugin/kv@0.1.0;
            import weir:plugin/http@0.1.0;
            import weir:plugin/tcp@0.1.0;
        }
    ",
    path: "../wit",
    generate_all,
    runtime_path: "weir_guest::wit_bindgen::rt",
});
