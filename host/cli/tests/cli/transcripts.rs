//! Transcripts of sessions, and nothing but what they show. `TRYCMD=overwrite` writes them anew.

#[test]
fn transcripts_are_true() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd").env("NO_COLOR", "1").env("COLUMNS", "100");
}
