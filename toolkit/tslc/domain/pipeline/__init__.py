"""CodePipeline: what a job of our action asks for, what is told of it, and the pipeline itself."""
