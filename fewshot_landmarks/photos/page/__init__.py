"""The page: what a visitor does (`session`), what is shown of it (`view`), and Gradio (`layout`)."""
