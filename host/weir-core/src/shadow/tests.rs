mod examples;
mod laws;
