"""Commands that are one look into a container, with the tools and options that most people would choose: trace, profile, core."""
