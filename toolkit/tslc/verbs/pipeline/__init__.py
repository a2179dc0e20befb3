"""The worker of our CodePipeline action, and the pipeline that is written from tslc.yaml."""
